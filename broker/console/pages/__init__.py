"""The console's pages: one module and one folder of templates for each group.

How to add a page:

1. Write ``pages/quarantine.py`` and ``templates/quarantine/``. The module has one ``Pages``::

       pages = Pages("quarantine", navigation=("Quarantine", "/quarantine", Capability.READ_QUARANTINE, 60))

       @pages.read("/quarantine/{quarantine_id}", capability=Capability.READ_QUARANTINE, action="quarantine_read")
       async def show_quarantined(page: Page, quarantine_id: UUID) -> Response:
           async with page.connection() as connection:
               row = await read_quarantine(connection, quarantine_id)
           return await page.render("one.html", row=row)

       @pages.act("/quarantine/{quarantine_id}/reject", capability=Capability.DECIDE_QUARANTINE)
       async def reject(page: Page, quarantine_id: UUID) -> Response:
           reason = page.form.text("reason", required="Enter why")
           if page.form.errors:
               return await show_again(page, quarantine_id)
           async with page.transaction() as connection:
               ...                                  # change, and append its event last: page.context.journal, page.context.log
           return await page.redirect("/quarantine", notice="The message was rejected.")

2. Add ``quarantine.pages`` to ``PAGES`` below. Nothing else: navigation, session, capability, form token, origin, fresh confirmation, the read event
   and the problem pages come with it. Capabilities, and which role has them, are in ``access.py``.

Rules that hold by themselves: a page's read event (``action`` and ``subject``: by default the values in its path; pass ``subject=`` a function of
the request for a search) is in the log before the endpoint runs. A capability in ``access.CONFIRMED`` asks for a fresh second factor: give a form's
page and its target the same path, so that people come back to it.

Rules that you keep: limit what is read by ``page.user.agency`` (none: the partnership's; otherwise only what that agency sent or received), and raise
``NotFound`` for what is not theirs. Never show, log or put into an address what is not an id, a code or an instant. Templates extend ``layout.html``,
import ``macros/``, and hold ``{{ form_token() }}`` in every form (``macros/forms.html``). No inline script or style. The tests find every route by
themselves: role matrix, accessibility and screenshots take example values from ``tests/support/console_paths.py``: add yours where a path has values.
"""

from broker.console.pages import (
    access,
    account,
    agencies,
    agreements,
    audit_samples,
    chronology,
    consents,
    home,
    integrity,
    log,
    notes,
    policies,
    quarantine,
    referrals,
    reports,
    reviews,
    users,
)
from broker.console.routing import Pages
from broker.console.signin import joining, local, organisation, passkey_pages

PAGES: tuple[Pages, ...] = (
    local.pages,
    joining.pages,
    organisation.pages,
    passkey_pages.pages,
    home.pages,
    log.pages,
    referrals.pages,
    chronology.pages,
    reviews.pages,
    consents.pages,
    agreements.pages,
    policies.pages,
    agencies.pages,
    quarantine.pages,
    integrity.pages,
    access.pages,
    users.pages,
    account.pages,
    reports.pages,
    audit_samples.pages,
    notes.pages,
)
"""All groups; the navigation orders itself."""
