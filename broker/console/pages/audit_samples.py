"""Audit samples: publish a seed, draw, grade, compare auditors, and take the list away."""

from datetime import date

from fastapi import Response

from broker.console.access import Capability
from broker.console.page import Page, PageContext
from broker.console.pages.reports import PartnershipOnly, send_csv
from broker.console.routing import Pages
from broker.reports.periods import Period
from broker.reports.sampling import store
from broker.reports.sampling.export import write_items
from broker.reports.words import say
from schemas.errors import NotFound

pages = Pages("audit-samples")


def _require_partnership(page: PageContext) -> None:
    if page.user.agency is not None:
        raise PartnershipOnly


@pages.read("/audit-samples", capability=Capability.READ_REPORTS, action="audit_samples")
async def list_samples(page: Page) -> Response:
    """List samples, and offer to publish a seed for a new one."""
    return await _show_list(page)


@pages.act("/audit-samples", capability=Capability.DRAW_SAMPLES)
async def publish_seed(page: Page) -> Response:
    """Publish a seed, with what will be drawn by it."""
    _require_partnership(page)
    first, last = (
        page.form.day("first", required="Enter the first day"),
        page.form.day("last", required="Enter the last day"),
    )
    strata = page.form.choices("strata", store.STRATA)
    size = page.form.text("size", required="Enter how many referrals to draw", most=4)
    if size and not (size.isascii() and size.isdigit()):
        page.form.fail("size", "Enter a whole number")
    if first is not None and last is not None and first > last:
        page.form.fail("first", "The first day must not be after the last")
    if page.form.errors or first is None or last is None:
        return await _show_list(page)
    try:
        async with page.transaction() as connection:
            sample_id = await store.publish_seed(
                connection,
                page.context.log,
                period=Period(first, last),
                strata=strata,
                size=int(size),
                by=str(page.user.user_id),
                now=page.context.clock(),
            )
    except store.SampleAskedWrongly as error:
        page.form.fail_with(error, "size")
        return await _show_list(page)
    return await page.redirect(f"/audit-samples/{sample_id}", notice="The seed is in the log. Now draw the sample.")


@pages.read("/audit-samples/{sample_id}", capability=Capability.READ_REPORTS, action="audit_sample")
async def show_sample(page: Page, sample_id: str) -> Response:
    """Show a sample with its grades."""
    return await _show_one(page, sample_id)


@pages.act("/audit-samples/{sample_id}/draw", capability=Capability.DRAW_SAMPLES)
async def draw_sample(page: Page, sample_id: str) -> Response:
    """Draw a sample whose seed is in the log."""
    _require_partnership(page)
    async with page.transaction() as connection:
        drawn = await store.draw_published(
            connection, page.context.log, sample_id, by=str(page.user.user_id), now=page.context.clock()
        )
    return await page.redirect(f"/audit-samples/{sample_id}", notice=f"{len(drawn)} referrals were drawn.")


@pages.act("/audit-samples/{sample_id}/grade", capability=Capability.GRADE_SAMPLES)
async def grade_item(page: Page, sample_id: str) -> Response:
    """Grade one referral of a sample."""
    _require_partnership(page)
    number = page.form.text("number", required="Enter the number in the sample", most=4)
    if number and not (number.isascii() and number.isdigit()):
        page.form.fail("number", "Enter a number from the list")
    chosen = {
        name: page.form.text(name, required=f"Choose {article}")
        for name, article in (("grade", "a grade"), ("theme", "a theme"), ("action", "an action"))
    }
    again: date | None = page.form.day("reaudit_on")
    if not page.form.errors:
        try:
            grading = store.Grading(sample_id, int(number), **chosen, reaudit_on=again)
            async with page.transaction() as connection:
                await store.grade_item(
                    connection, page.context.log, grading, by=str(page.user.user_id), now=page.context.clock()
                )
            return await page.redirect(f"/audit-samples/{sample_id}", notice=f"Number {number} is graded.")
        except store.SampleAskedWrongly as error:
            page.form.fail_with(error, "number")
        except NotFound:
            page.form.fail("number", "Enter a number from the list")
    return await _show_one(page, sample_id)


@pages.read("/audit-samples/{sample_id}/list.csv", capability=Capability.READ_REPORTS, action="audit_sample_export")
async def download_list(page: Page, sample_id: str) -> Response:
    """Return a sample's referrals and grades as CSV."""
    _require_partnership(page)
    async with page.connection() as connection:
        await store.read_sample(connection, sample_id)
        items = await store.list_items(connection, sample_id)
    return send_csv(page, write_items([dict(item) for item in items]), f"{sample_id}.csv")


async def _show_list(page: PageContext) -> Response:
    _require_partnership(page)
    async with page.connection() as connection:
        samples = await store.list_samples(connection)
    return await page.render("list.html", samples=samples, strata=store.STRATA, say=say)


async def _show_one(page: PageContext, sample_id: str) -> Response:
    _require_partnership(page)
    async with page.connection() as connection:
        sample = await store.read_sample(connection, sample_id)
        items = await store.list_items(connection, sample_id)
    return await page.render(
        "one.html",
        sample=sample,
        items=items,
        say=say,
        grades=store.GRADES,
        themes=store.THEMES,
        actions=store.ACTIONS,
    )
