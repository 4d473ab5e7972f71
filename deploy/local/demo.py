"""``make demo``: the main job, from a record system's export to a signed receipt, on this machine and from nothing."""

import shutil
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from broker.decisions import DEFAULT_PACK
from deploy.local.check import Check, CheckReport
from deploy.local.display import LEGEND, show_differences, show_document, write_summary
from deploy.local.inspection import collect_needles, search_everything
from deploy.local.install import ensure_rabbitmq
from deploy.local.leak_search import SearchReport
from deploy.local.local_partnership import LocalPartnership
from deploy.local.sample_set import SampleDocument, SampleSet, read_sample_set
from deploy.local.story import Story, ToldDocument

FIRST_INSTANT = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
"""Business clock while the partnership comes up; each document then brings its own."""


class Demo:
    """One run of the demonstration below ``root``; what an earlier run left there is removed first."""

    def __init__(self, root: Path, samples: Path, console: Console) -> None:
        """Read the samples' layout.

        Raises:
            ConfigInvalid: the folder of samples is not of its form.
        """
        self.root = root
        self.samples: SampleSet = read_sample_set(samples)
        self.console = console
        self._has_clock = any(document.received_at for document in self.samples.documents)

    def run(self, *, check: bool) -> bool:
        """Tell the whole story; return whether nothing leaked and, with ``check``, nothing differs.

        Raises:
            ProgramMissing: RabbitMQ is missing and may not be installed; nothing was touched.
            DependencyUnavailable: a server or program did not answer in time.
        """
        ensure_rabbitmq(self.console.print)
        partnership = self._prepare()
        try:
            with self._progress("Starting") as tell:
                partnership.start(tell)
            return self._tell(partnership, Check(self.samples.read_expected()) if check else None)
        finally:
            self.console.print("Stopping servers and programs")
            partnership.stop()

    def _prepare(self) -> LocalPartnership:
        received = self.root / "received"
        clock_file = self.root / "clock" if self._has_clock else None
        self.root.mkdir(parents=True, exist_ok=True, mode=0o711)
        for leftover in (received, self.root / "check.json", self.root / "SUMMARY.md"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
        before = self._make_partnership(received, clock_file)
        before.stop()
        before.stack.destroy()
        shutil.rmtree(self.root / "run", ignore_errors=True)
        partnership = self._make_partnership(received, clock_file)
        if clock_file is not None:
            partnership.set_clock(FIRST_INSTANT)
        return partnership

    def _make_partnership(self, received: Path, clock_file: Path | None) -> LocalPartnership:
        return LocalPartnership(self.root / "run", self.samples.partnership_file, received, clock_file=clock_file)

    def _tell(self, partnership: LocalPartnership, check: Check | None) -> bool:
        story = Story(partnership)
        try:
            told = self._hand_over(story, self.samples.documents, check)
            self._collect_receipts(story, told)
            refused = self._hand_over_bad(story, check)
        finally:
            story.close()
        search = self._search(partnership, [*told, *refused])
        write_summary(self.root / "SUMMARY.md", told, refused, search, datetime.now(UTC))
        self.console.print(f"Read {self.root / 'SUMMARY.md'} and what each agency received in {self.root / 'received'}")
        report = check.report if check else None
        if report is not None:
            report.write(self.root / "check.json")
            self._show_report(report)
        return not search.leaks and (report is None or not report.differences)

    def _hand_over(self, story: Story, documents: Sequence[SampleDocument], check: Check | None) -> list[ToldDocument]:
        """Hand over the good documents; recipients open what they get as it comes."""
        found = []
        self.console.print(LEGEND)
        for number, document in enumerate(documents, 1):
            when = f", received {document.received_at:%d %B %Y %H:%M} UTC" if document.received_at else ""
            self.console.rule(f"{number} of {len(documents)}: {document.name}{when}", align="left")
            told = story.tell(document)
            for referral in told.referrals:
                story.open_deliveries(referral)
            show_document(self.console, told)
            if check is not None:
                show_differences(self.console, check.check_good(told))
            found.append(told)
        return found

    def _collect_receipts(self, story: Story, told: Sequence[ToldDocument]) -> None:
        """Show that receipts come back: everything opened, and one delivery acted on."""
        self.console.rule("Receipts, signed by each recipient and proven in the log", align="left")
        referrals = [referral for document in told for referral in document.referrals]
        for referral in referrals:
            story.await_receipts(referral, "opened")
        acted = next((r for r in referrals if r.opened), None)
        if acted is not None:
            delivery_id = next(iter(acted.opened))
            story.act_on(acted, delivery_id)
            story.await_receipts(acted, "opened")
        opened = sum(len(referral.opened) for referral in referrals)
        self.console.print(f"{opened} deliveries were opened; their senders hold a signed receipt for each.")

    def _hand_over_bad(self, story: Story, check: Check | None) -> list[ToldDocument]:
        """Hand over the faulty documents: nothing of their bad records is sent."""
        found = []
        if self.samples.bad_documents:
            self.console.rule(f"{len(self.samples.bad_documents)} faulty documents", align="left")
        for document in self.samples.bad_documents:
            told = story.tell(document)
            show_document(self.console, told)
            if check is not None:
                show_differences(self.console, check.check_bad(told))
            found.append(told)
        return found

    def _search(self, partnership: LocalPartnership, told: Sequence[ToldDocument]) -> SearchReport:
        """Search everything that the hub and the servers keep for the content of what went through."""
        self.console.rule("Searching the hub's database, the queues, the logs and the stores for content", align="left")
        referrals = [referral.referral for document in told for referral in document.referrals]
        pack = [path.read_text(encoding="utf-8") for path in sorted(DEFAULT_PACK.iterdir()) if path.is_file()]
        public = "\n".join([self.samples.partnership_file.read_text(encoding="utf-8"), *pack])
        needles = collect_needles(referrals, public)
        report = search_everything(partnership, needles)
        places = f"{report.bytes_searched:,} bytes in {report.places} places"
        self.console.print(f"{len(needles)} texts, in 14 encodings, looked for in {places}: {len(report.leaks)} found.")
        for leak in report.leaks[:20]:
            self.console.print(
                f"  [red]found[/] text {leak.needle} in {leak.place} at byte {leak.offset} as {leak.encoding}"
            )
        return report

    def _show_report(self, report: CheckReport) -> None:
        style = "green" if not report.differences else "red"
        self.console.print(
            f"[{style}]{report.agreeing} of {report.records} records as expected, {len(report.differences)} differences[/]"
            f"; see {self.root / 'check.json'}"
        )

    @contextmanager
    def _progress(self, title: str):  # type: ignore[no-untyped-def]
        """Show a line a step on a terminal or in a file alike."""
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(title, total=10)

            def tell(line: str) -> None:
                progress.console.print(f"  {line}")
                progress.update(task, advance=1, description=line)

            yield tell
