"""Who this agency is and whom it believes: keys, enrolment, the pinned trust, the verified directory, the way to the hub."""
