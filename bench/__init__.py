"""Measurements: how many referrals a second one hub worker moves, beside an ordinary relay that checks nothing."""
