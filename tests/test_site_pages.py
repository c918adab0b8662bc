"""The built site in a real browser, with no network: `make site-check` builds it and runs this."""

import dataclasses
import functools
import http.server
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest

from survey_lib.analysis import literature
from survey_lib.analysis.address import address as where
from survey_lib.catalogue import METHODS
from survey_lib.site.generate import README
from survey_lib.site.pages import card, numbers_table, papers_table

SITE = Path(__file__).parents[1] / "build" / "site"
CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if "_static" not in path.parts)
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
BROKEN = "return [...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src)"
FOREIGN = "return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(location.origin))"
UNSET = """return [...document.querySelectorAll('.math')].filter(m => !m.querySelector('mjx-container')).length
           + document.querySelectorAll('mjx-merror, [data-mjx-error]').length"""
VISIBLE = (
    "return [...document.querySelectorAll('table.filterable tbody tr:not([hidden])')].map(r => r.textContent)"
)

HOSTILE = (
    "````\n``````\n</p><script>document.title='run'</script><img src=x onerror=\"document.title='run'\"> [a](javascript:1) "
    r"$\href{javascript:1}{a}$"
)
built = pytest.mark.skipif(not PAGES, reason="build/site is not there; `make site` builds it")
browser_needed = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"
)


class Addresses(HTMLParser):
    """What a page links to, and the ids it can be linked at."""

    def __init__(self, page: str):
        super().__init__()
        self.links, self.ids, self.loads = set(), set(), set()
        self.feed((SITE / page).read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.add(value)
                if (
                    tag != "a"
                    and not value.startswith("data:")
                    and Path(urlsplit(value).path).suffix not in ("", ".html")
                ):
                    self.loads.add(value)
            elif name == "id":
                self.ids.add(value)


@functools.cache
def addresses(page: str) -> Addresses:
    return Addresses(page)


@built
@pytest.mark.parametrize("page", PAGES)
def test_a_table_of_an_output_is_a_table(page):
    """Cards are Markdown tables; a parser without tables leaves their bars in the text."""
    assert "<p>| " not in (SITE / page).read_text(encoding="utf-8")


@built
@pytest.mark.parametrize("page", PAGES)
def test_every_local_link_leads_somewhere(page):
    for address in map(urlsplit, addresses(page).links):
        if address.scheme or address.netloc:
            continue
        target = (SITE / page).parent / unquote(address.path) if address.path else SITE / page
        assert target.exists(), address.geturl()
        if address.fragment and target.suffix == ".html":
            name = str(target.resolve().relative_to(SITE))
            assert unquote(address.fragment) in addresses(name).ids, address.geturl()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def address():
    with served(SITE) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def show(browser, address: str, width: str = "desktop") -> None:
    """Open a page at a width, let lazy pictures load and math be set."""
    size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", size | {"deviceScaleFactor": 1, "mobile": width == "phone"}
    )
    browser.get(address)
    browser.execute_script("document.querySelectorAll('img[loading]').forEach(i => i.loading = 'eager')")


def wait(browser, script: str, seconds: float = 15) -> object:
    """What the script gives, once that is empty or zero, or at the end of the time."""
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.support.wait import WebDriverWait

    try:
        WebDriverWait(browser, seconds, 0.1).until(lambda driver: not driver.execute_script(script))
    except TimeoutException:
        pass
    return browser.execute_script(script)


@built
@browser_needed
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_page_shows_everything_without_a_network(browser, address, page, width):
    show(browser, address + page, width)
    assert wait(browser, BROKEN) == []
    assert wait(browser, UNSET) == 0
    assert browser.execute_script(FOREIGN) == []
    severe = [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert severe == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= WIDTHS[width][0]


@built
@browser_needed
@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("geometric median", "methods/fpgm.html"),
        ("HRank", "methods/hrank.html"),
        ("optimal brain damage", "methods/obd.html"),
        ("lottery", "notebooks/05_lottery_tickets.html"),
        ("lottery ticket", "notebooks/05_lottery_tickets.html"),
        ("rewinding", "notebooks/05_lottery_tickets.html"),
        ("OBS", "methods/obs.html"),
        ("N:M", "notebooks/10_between.html"),
        ("2:4", "notebooks/10_between.html"),
        ("Wanda", "methods/wanda.html"),
        ("knowledge distillation", "notebooks/14_structure_and_recovery.html"),
    ],
)
def test_search_puts_cards_and_lessons_first(browser, address, words, page):
    show(browser, f"{address}search.html?q={words}", "phone")
    first = "return [...document.querySelectorAll('#search-results li:not([hidden]) a')].slice(0, 4).map(a => new URL(a.href).pathname)"
    wait(browser, f"return document.querySelector('#search-results a[href*=\"{page}\"]') === null")
    time.sleep(1)  # results arrive one by one
    found = browser.execute_script(first)
    assert "/" + page in found and len(set(found)) == len(found)
    assert "System Settings" not in browser.find_element("id", "search-results").text  # the theme's menu
    assert browser.execute_script("return document.documentElement.scrollWidth") <= WIDTHS["phone"][0]


@built
@browser_needed
def test_literature_is_filtered_sorted_and_paged_and_the_address_says_how(browser, address):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.select import Select

    total = len(literature.papers())
    show(browser, f"{address}literature.html")
    output = browser.find_element(By.CSS_SELECTOR, ".survey-filter output")
    assert output.text == f"1 to 50, {total} of {total}" and len(browser.execute_script(VISIBLE)) == 50
    before, after = browser.find_elements(By.CSS_SELECTOR, ".survey-filter button")
    after.click()
    assert output.text.startswith("51 to 100") and before.is_displayed()
    year = "return [...document.querySelectorAll('table.filterable tbody tr:not([hidden])')].map(r => r.cells[2].textContent)"
    heads = {head.text: head for head in browser.find_elements(By.CSS_SELECTOR, "table.filterable th button")}
    for order in (sorted, lambda years: sorted(years, reverse=True)):
        heads["year"].click()
        assert (years := browser.execute_script(year)) == order(years)
    menus = {
        label.text.split("\n")[0]: label
        for label in browser.find_elements(By.CSS_SELECTOR, ".survey-filter label")
    }
    Select(menus["granularity"].find_element(By.TAG_NAME, "select")).select_by_value("filter")
    menus["words"].find_element(By.TAG_NAME, "input").send_keys("geometric median")
    rows = browser.execute_script(VISIBLE)
    assert rows and all("He et al." in row and "filter" in row for row in rows)
    assert output.text == f"{len(rows)} of {total}"
    assert unquote(browser.current_url).endswith("?words=geometric+median&granularity=filter&sort=year&down=")
    browser.refresh()
    assert browser.execute_script(VISIBLE) == rows


@built
@browser_needed
def test_a_card_leads_to_the_published_numbers_of_its_paper(browser, address):
    show(browser, f"{address}published.html?words=he2019filter")
    rows = browser.execute_script(VISIBLE.replace("textContent", "innerHTML"))
    assert rows and all("he2019filter" in row for row in rows)
    assert browser.execute_script("return document.documentElement.scrollHeight") < 20_000


@built
@browser_needed
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_site_is_as_dark_as_the_system(browser, address, scheme):
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    show(browser, f"{address}index.html")
    assert browser.execute_script("return document.documentElement.dataset.theme") == scheme


@built
def test_the_start_page_asks_a_question_for_each_lesson_and_a_shared_link_has_a_preview():
    text = (SITE / "index.html").read_text(encoding="utf-8")
    for path in (Path(__file__).parents[1] / "notebooks").glob("*.ipynb"):
        assert f'href="notebooks/{path.stem}.html"' in text
    assert (
        README.read_text(encoding="utf-8").partition("begin findings")[2].split("**")[1] in text
        and '<meta property="og:title"' in text
        and "_static/chain.svg" in text
    )
    buttons = text.partition("survey-buttons")[2].partition("</p>")[0]
    assert re.findall(r">([^<]+)</a>", buttons) == ["Read the course", "Run it", "Prune your model"]


@built
@pytest.mark.parametrize("page", PAGES)
def test_a_page_weighs_less_than_two_megabytes_without_mathjax(page):
    """All that it loads, the font of the icons too; formulas are set by one script. The table of figures loads them all."""
    loaded = [
        link.partition("?")[0]
        for link in addresses(page).loads
        if "mathjax" not in link and "://" not in link
    ]
    limit = 3_000_000 if page == "figures/index.html" else 2_000_000
    icons = SITE / "_static" / "vendor" / "fontawesome" / "webfonts" / "fa-solid-900.woff2"
    files = {SITE / page, icons, *((SITE / page).parent / unquote(link) for link in loaded)}
    assert sum(path.stat().st_size for path in {path.resolve() for path in files}) < limit


LESSONS_WITH_SLIDERS = ["02_weight", "04_before", "06_during", "07_filter", "13_language"]


@built
@browser_needed
@pytest.mark.parametrize("lesson", LESSONS_WITH_SLIDERS)
def test_a_slider_of_a_lesson_moves_its_picture_on_the_site(browser, address, lesson):
    page = next(page for page in PAGES if page.startswith(f"notebooks/{lesson}"))
    show(browser, address + page)
    seen = browser.execute_script("""
        const slider = document.querySelector('input[type=range]'), picture = slider.closest('figure').querySelector('img');
        return [0, slider.max].map((step) => {
          slider.value = step;
          slider.dispatchEvent(new Event('input'));
          return [slider.nextElementSibling.value, picture.src];
        });""")
    assert seen[0][0] != seen[1][0] and seen[0][1] != seen[1][1]


@built
@browser_needed
def test_a_figure_is_copied_as_a_reference_from_its_own_page(browser, address):
    show(browser, f"{address}figures/taxonomy.html")
    copied = browser.execute_async_script("""
        const done = arguments[0];
        navigator.clipboard.writeText = async (text) => done(text);
        document.querySelector('.highlight-bibtex .survey-copy').click();""")
    assert (
        copied.startswith("@misc{survey_lib:taxonomy,")
        and "sha256" in copied
        and "published in commit" in copied
    )


@built
@browser_needed
def test_math_is_set(browser, address):
    show(browser, f"{address}methods/fpgm.html")
    assert wait(browser, UNSET) == 0
    assert browser.execute_script("return document.querySelectorAll('.math mjx-container').length") >= 1


@built
@browser_needed
def test_notebook_is_launched_only_from_an_address_and_folds_its_solutions(browser, address):
    show(browser, f"{address}notebooks/07_filter_pruning.html")
    links = browser.execute_script("return [...document.querySelectorAll('a')].map(a => a.href)")
    launch = [unquote(link) for link in links if "mybinder" in link]
    assert bool(launch) == bool(where())
    assert all("urlpath=lab/tree/notebooks/07_filter_pruning.ipynb" in link for link in launch)
    folded = browser.execute_script("return [...document.querySelectorAll('.cell details')].map(d => d.open)")
    assert folded and not any(folded)


@built
@pytest.mark.parametrize("page", PAGES)
def test_no_page_has_a_placeholder(page):
    text = (SITE / page).read_text(encoding="utf-8")
    assert not [word for word in ("OWNER", "Author name not set", "github.com/None") if word in text]


@pytest.fixture
def hostile(monkeypatch):
    """The literature data and results with a script in every text, and keys that no paper has."""
    table, numbers = literature.papers().head(4).copy(), literature.published().head(4).copy()
    for frame, kept in ((table, {"year", "arxiv_id", "doi", "code_url"}), (numbers, {"own"})):
        for column in set(frame.columns) - kept:
            if not pd.api.types.is_numeric_dtype(frame[column]):
                frame[column] = HOSTILE
    monkeypatch.setattr(literature, "papers", lambda: table)
    monkeypatch.setattr(literature, "published", lambda: numbers)
    return dataclasses.replace(METHODS["fpgm"], paper=table.index[0], one_line=HOSTILE)


@browser_needed
def test_no_script_of_a_file_runs(hostile, browser, tmp_path):
    """Cards and literature with hostile texts, built by Sphinx and opened in Chromium."""
    sphinx = pytest.importorskip("sphinx.cmd.build")
    source, out = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "conf.py").write_text(
        "extensions = ['myst_nb']\nmyst_enable_extensions = ['dollarmath', 'amsmath']"
    )
    texts = {
        "index": "# Index\n\n```{toctree}\ncard\npapers\nnumbers\n```\n",
        "card": card(hostile),
        "papers": "# Papers\n\n" + papers_table(),
        "numbers": "# Numbers\n\n" + numbers_table(),
    }
    for name, text in texts.items():
        (source / f"{name}.md").write_text(text, encoding="utf-8")
    assert sphinx.main(["-q", "-b", "html", str(source), str(out)]) == 0
    with served(out) as address:
        for name in texts:
            browser.get(f"{address}{name}.html")
            assert browser.title != "run" and "document.title='run'" in browser.page_source or name == "index"
            assert (
                browser.execute_script(
                    "return document.querySelectorAll('img[onerror], a[href^=javascript], span.math').length"
                )
                == 0
            )
