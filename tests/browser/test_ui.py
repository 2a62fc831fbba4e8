"""What users do in the UI, in a real browser: look at the graph, run an asset, meet a failing check, stop a training job."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import Corpus, corpus  # noqa: F401

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (Debian: chromium-driver)"),
]


def wait(what: Callable[[], Any], saying: Callable[[], str], seconds: float = 150) -> Any:
    """Return the first true value of a function."""
    last = time.monotonic() + seconds
    while time.monotonic() < last:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {saying()}")


class Page:
    """A browser on a `dagster dev`, told what to look for in the words of the page."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver, self.address = driver, address

    def open(self, path: str) -> None:
        self.driver.get(self.address + path)

    @property
    def text(self) -> str:
        return self.driver.execute_script("return document.body.innerText")

    def see(self, *words: str, reloading: bool = False) -> str:
        """Wait until the page shows all words, as it is or loaded again now and then."""
        loaded = time.monotonic()

        def shown() -> bool:
            nonlocal loaded
            if reloading and time.monotonic() - loaded > 20:
                self.driver.refresh()
                loaded = time.monotonic()
            return all(word in self.text for word in words)

        wait(shown, lambda: f"{words} in\n{self.text}")
        return self.text

    def click(self, xpath: str) -> None:
        """Wait for an element that can be clicked, and click it."""
        from selenium.common.exceptions import WebDriverException

        def clicked() -> bool:
            try:
                (element, *_) = [each for each in self.driver.find_elements("xpath", xpath) if each.is_displayed()] or [None]
                if element is None or not element.is_enabled():
                    return False
                element.click()
            except WebDriverException:  # it moved, or was drawn anew
                return False
            return True

        wait(clicked, lambda: f"{xpath} in\n{self.text}")

    def follow_run(self) -> str:
        """Open the run that was just launched, as the note about it offers, and return its address."""
        self.click("//*[self::a or self::button][normalize-space(.)='View']")
        return wait(lambda: "/runs/" in self.driver.current_url and self.driver.current_url, lambda: self.text)

    def press(self, label: str) -> None:
        self.click(f"//button[contains(normalize-space(.), '{label}')]")


@pytest.fixture(scope="module")
def place(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    corpus.mixture("endless", 200_000, agent=0.5, text=0.5)
    folder = tmp_path_factory.mktemp("ui")
    (folder / "home").mkdir()
    shutil.copy(ROOT / "dagster.yaml", folder / "home")
    return folder


@pytest.fixture(scope="module")
def address(place: Path, corpus: Corpus) -> Iterator[str]:  # noqa: F811
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if name != "HEPHAESTUS_RECIPE"},
        "DAGSTER_HOME": str(place / "home"),
        "HEPHAESTUS_STORE": str(place / "store"),
        "FORGE_CORPUS": str(corpus.folder),
    }
    command = [sys.executable, "-m", "dagster", "dev", "-m", "tests.browser.forge", "-h", "127.0.0.1", "-p", str(port)]
    log = place / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        found = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return urllib.request.urlopen(f"{found}/server_info", timeout=5).status == 200
            except OSError:
                return False

        try:
            wait(answers, log.read_text)
            yield found
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for number in training_processes(place):  # of a test that failed before it stopped them
                os.kill(number, signal.SIGKILL)


@pytest.fixture(scope="module")
def page(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    profile = tmp_path_factory.mktemp("profile")
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1500,1400", f"user-data-dir={profile}"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield Page(driver, address)
    finally:
        driver.quit()


def test_the_lineage_shows_the_stages_of_the_paper(page: Page, record_property: Callable[[str, Any], None]) -> None:
    started = time.monotonic()
    page.open("/asset-groups/")
    page.see("seed_corpus", "web_retrieval", "quality", "mixture", "scaling_law", "training", "evaluation", "benchmarks")
    seconds = time.monotonic() - started
    record_property("seconds to the first lineage", seconds)
    print(f"\nfirst lineage after {seconds:.1f} s")
    assert seconds < 20, "3 s are the goal on a quiet machine with two cores"


def test_an_asset_runs_from_its_page_and_shows_what_it_made(page: Page, place: Path) -> None:
    page.open("/assets/picture_book")
    page.see("A few documents and a curve.", "Never materialized")
    page.press("Materialize")
    page.follow_run()
    page.see("RUN_SUCCESS")
    page.open("/assets/picture_book")
    text = page.see("Row count", "built because")
    for shown in ("1,200 pages", "first build", "SPDX identifier", "Page 480 of the book.", "MIT", "documents/", "laptop"):
        assert shown in text, f"{shown} in\n{text}"
    assert f"{place}/store/picture_book/" in text
    page.click("//tr[.//*[normalize-space(text())='the curve']]//*[contains(text(), 'Markdown')]")
    picture = "return [...document.images].filter(i => i.alt == 'the curve' && i.complete).map(i => i.naturalWidth)[0]"
    assert wait(lambda: page.driver.execute_script(picture), lambda: page.text) > 300, "a picture wide enough to read"


def test_a_failing_check_stops_what_follows(page: Page, place: Path) -> None:
    page.open("/locations/tests.browser.forge/jobs/forge_sword")
    page.press("Materialize")
    page.follow_run()
    page.see("iron_is_hot", "RUN_FAILURE")
    page.open("/assets/cold_iron?view=checks")
    page.see("20 °C, at least 900 °C wanted", "The iron glows.")
    page.open("/assets/sword")
    page.see("Never materialized")
    assert [path.name for path in (place / "store").iterdir() if path.name in ("cold_iron", "sword")] == ["cold_iron"]


def test_a_training_job_shows_its_curve_and_leaves_nothing_when_it_is_stopped(page: Page, place: Path) -> None:
    page.open("/locations/tests.browser.forge/jobs/forge_model")
    page.press("Materialize")
    run = page.follow_run()
    page.see("STEP_START")
    page.open("/assets/endless_training")
    page.see("loss so far", "tokens per second", "of 50,000", reloading=True)
    assert training_processes(place), "a job that shows its curve runs"
    page.driver.get(run)
    page.press("Terminate")
    page.press("Terminate 1 run")
    page.see("Canceled")
    wait(lambda: not training_processes(place), lambda: f"still there: {training_processes(place)}", 60)
    assert not [*(place / "store/endless_training").glob("[0-9a-f]*/manifest.json")], "nothing half-written is an artifact"


def training_processes(place: Path) -> list[int]:
    """Return the ids of training processes that work for this test's store."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
            if b"hephaestus_dag.training" in command and str(place).encode() in environment:
                found.append(int(process.name))
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found
