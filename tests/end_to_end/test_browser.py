"""The page in a real browser. Needs playwright and a Chromium; without them these tests are skipped."""

import os
import re
import shutil
from itertools import pairwise

import numpy as np
import pytest

import deeppose_port
from deeppose_port import metrics
from deeppose_port.drawing.report import write_comparison, write_evaluation
from deeppose_port.evaluate.comparison import compare
from tests.helpers.networks import random_checkpoint
from tests.helpers.pages import HOSTILE, evaluated, persons

ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    program = program or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium here")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    names = ("a.png", "b.png", HOSTILE)
    return persons(tmp_path_factory.mktemp("persons"), names=names)


@pytest.fixture(scope="module")
def report(dataset, tmp_path_factory):
    """The page of an evaluation, and the evaluation."""
    pose, evaluation = evaluated(dataset)
    return write_evaluation(pose, evaluation, dataset, tmp_path_factory.mktemp("eval"), command="x"), evaluation


@pytest.fixture(scope="module")
def comparison(dataset, tmp_path_factory):
    """The page of a comparison."""
    old = random_checkpoint(joints=14)
    weights = {name: array.copy() for name, array in old.weights.items()}
    weights["fc8.bias"][3] += 0.1
    poses = deeppose_port.load(old), deeppose_port.load(old.replace(weights=weights))
    compared = compare(*poses, (dataset, dataset))
    return write_comparison(compared, tmp_path_factory.mktemp("compare"), command="x")


@pytest.fixture
def open_page(browser):
    """Opens a page; afterwards it must have said nothing on the console and asked for nothing outside of itself."""
    contexts, said, asked, opened = [], [], [], set()

    def open_page(path, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        opened.add(path.as_uri())
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert asked
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]
    assert {url for url in asked if url.startswith("file:")} == opened


def lines(page):
    """The lines of the persons that are shown, in their order."""
    shown = page.locator("#gallery li .line").all_text_contents()
    return [int(text.split()[1]) for text in shown]


def person_errors(evaluation, joint=None):
    errors = metrics.pixel_errors(evaluation.predicted, evaluation.true, evaluation.visible)
    return np.nanmean(errors, axis=1) if joint is None else errors[:, joint]


def test_opens_from_the_disk_and_is_sorted_by_errors(open_page, report):
    path, evaluation = report
    page = open_page(path)
    relative = person_errors(evaluation) / metrics.box_sizes(evaluation.true, evaluation.visible)
    assert lines(page) == (np.argsort(-relative) + 1).tolist()
    page.select_option("#sort", "pixels")
    assert lines(page) == (np.argsort(-person_errors(evaluation)) + 1).tolist()
    page.select_option("#order", "1")
    assert lines(page) == (np.argsort(person_errors(evaluation)) + 1).tolist()
    page.select_option("#sort", "line")
    assert lines(page) == list(range(1, 10))
    page.select_option("#sort", "file")
    names = page.locator("#gallery .file").all_text_contents()
    assert names[-6:] == ["a.png"] * 3 + ["b.png"] * 3


def test_a_joint_is_sorted_filtered_and_shown_by_itself(open_page, report):
    path, evaluation = report
    page = open_page(path)
    page.select_option("#joint", label="neck")
    page.select_option("#sort", "pixels")
    errors = person_errors(evaluation, evaluation.skeleton.joints.index("neck"))
    known = np.flatnonzero(~np.isnan(errors))
    expected = known[np.argsort(-errors[known])]
    assert lines(page) == (expected + 1).tolist()
    first = page.locator("#gallery li .error b").first.text_content()
    assert first == f"{errors[expected[0]]:.1f} px"
    assert page.locator("#count").inner_text() == f"{len(known)} of 9 persons"


def test_persons_are_filtered_by_name_line_and_error(open_page, report):
    path, evaluation = report
    page = open_page(path)
    page.fill("#search", "a.png")
    assert sorted(lines(page)) == [1, 4, 7]
    page.fill("#search", "B.PNG 5")
    assert lines(page) == [5]
    page.fill("#search", "")
    relative = person_errors(evaluation) / metrics.box_sizes(evaluation.true, evaluation.visible)
    bound = float(np.floor(100 * np.sort(relative)[-4])) / 100
    page.fill("#least", f"{100 * bound:g}")
    assert sorted(lines(page)) == (np.flatnonzero(relative >= bound) + 1).tolist()
    page.fill("#search", "nobody")
    assert page.locator("#count").inner_text() == "0 of 9 persons"
    page.press("#search", "Enter")  # does not send the form anywhere
    assert page.url == path.as_uri()


def test_comparison_sorts_by_what_moved_and_by_either_side(open_page, comparison):
    page = open_page(comparison)
    assert page.locator("#certificate h2").inner_text() == "Not the same network"
    page.select_option("#sort", "moved")
    assert len(lines(page)) == 9
    assert page.locator("#gallery li").first.locator(".error").count() == 2
    page.select_option("#subject", label="old")
    page.locator("summary").first.click()
    assert page.locator("#certificate details").first.locator("tbody tr").count() == 23


def test_pictures_are_drawn_with_what_is_ticked(open_page, comparison):
    page = open_page(comparison)
    first = page.locator("#gallery .picture").first
    shown = {style: first.locator(f"path.{style}:not(.case):not(.r)") for style in "abt"}
    assert all(path.is_visible() for path in shown.values())
    for style in "abt":
        page.uncheck(f"#show-{style}")
        assert not shown[style].is_visible()
        page.check(f"#show-{style}")


def test_a_person_is_enlarged_by_mouse_and_keyboard(open_page, report):
    path, evaluation = report
    page = open_page(path)
    picture = page.get_by_role("button", name=re.compile("^Enlarge")).first
    picture.click()
    dialog = page.get_by_role("dialog")
    assert dialog.locator("tbody tr").count() == 14
    line = int(dialog.locator("h3").inner_text().rpartition(" ")[2])
    error = person_errors(evaluation, 2)[line - 1]
    assert dialog.locator("tbody tr").nth(2).locator("td").inner_text() == f"{error:.1f}"
    assert dialog.locator("tfoot td").inner_text() == f"{person_errors(evaluation)[line - 1]:.1f}"
    assert dialog.locator(".sides").inner_text().split("\n") == ["prediction: left, right", "truth: left, right"]
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    picture.focus()
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    dialog.get_by_text("Close").click()
    assert not dialog.is_visible()


def test_enlarged_persons_are_gone_through_in_the_order_that_is_shown(open_page, report):
    page = open_page(report[0])
    page.select_option("#sort", "line")
    page.select_option("#order", "1")
    page.get_by_role("button", name=re.compile("^Enlarge")).first.click()
    dialog = page.get_by_role("dialog")
    line = lambda: int(dialog.locator("h3").inner_text().rpartition(" ")[2])  # noqa: E731
    assert (line(), dialog.get_by_text("Previous").is_disabled()) == (1, True)
    dialog.get_by_text("Next").click()
    assert line() == 2
    page.keyboard.press("Enter")  # the same button again
    assert line() == 3
    page.keyboard.press("ArrowLeft")
    assert line() == 2
    assert "2 of 9" in dialog.inner_text()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert (line(), dialog.get_by_text("Next").is_disabled()) == (9, True)


def test_sides_of_a_person_have_colours_of_their_own(open_page, report, comparison):
    for path, styles in ((report[0], "a"), (comparison, "ab")):
        page = open_page(path)
        colours = page.evaluate(
            """(styles) => styles.flatMap((style) => ['', '.r'].map((side) => getComputedStyle(
                document.querySelector(`.picture path.${style}:not(.case)${side || ':not(.r)'}`)).stroke))""",
            list(styles),
        )
        assert len(set(colours)) == len(colours)
        dashes = page.evaluate(
            """() => ['.r', ':not(.r)'].map((side) => getComputedStyle(
                document.querySelector(`.picture path.t:not(.case)${side}`)).strokeDasharray)"""
        )
        assert dashes[0] != dashes[1], "the truth's, which is white"


def test_works_without_scripts(open_page, comparison):
    page = open_page(comparison, java_script_enabled=False)
    assert not page.locator("#controls").is_visible()
    assert page.locator("#gallery li").count() == 9
    assert page.locator("#certificate h2").is_visible()
    picture = page.locator("#gallery .picture").first
    assert picture.locator("path.t:not(.case):not(.r)").is_visible()
    page.uncheck("#show-t")
    assert not picture.locator("path.t:not(.case):not(.r)").is_visible()
    page.locator("summary").first.click()
    assert page.locator("#certificate details").first.get_attribute("open") is not None


def test_names_from_files_run_nothing(open_page, report):
    page = open_page(report[0])
    assert page.evaluate("window.hacked") is None
    page.fill("#search", "onerror")
    page.locator("#gallery li .picture").first.click()
    assert "<script>" in page.get_by_role("dialog").locator("h3").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 2


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_the_screen_and_can_be_read(open_page, comparison, width, scheme):
    page = open_page(comparison, viewport={"width": width, "height": 844}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ground, *inks = page.evaluate(
        """() => ['ground', 'ink', 'muted', 'link', 'good', 'bad', 'a', 'b'].map((name) => {
            document.body.style.color = `var(--${name})`;
            return getComputedStyle(document.body).color.match(/\\d+/g).map(Number);
        })"""
    )
    assert (luminance(ground) > 0.5) == (scheme == "light")
    *texts, a, b = [contrast(ground, ink) for ink in inks]
    assert min(texts) >= 4.5, "WCAG 2.2, 1.4.3"
    assert min(a, b) >= 3, "WCAG 2.2, 1.4.11"


def test_metrics_fit_a_phone_and_what_does_not_throws_a_shadow(open_page, comparison):
    page = open_page(comparison, viewport={"width": 390, "height": 844})
    fits = "(e) => e.scrollWidth <= e.clientWidth"
    assert page.locator(".scroll:has(.metrics)").evaluate(fits)
    assert page.locator(".metrics td.text").first.is_visible()
    joints = page.locator("#joints .scroll")
    assert not joints.evaluate(fits)
    assert "gradient" in joints.evaluate("(e) => getComputedStyle(e).backgroundImage")
    joints.evaluate("(e) => { e.scrollLeft = 200; }")
    name = page.locator("#joints tbody th").first
    assert name.bounding_box()["x"] >= joints.bounding_box()["x"], "names stay in sight"


def test_what_is_folded_is_printed(open_page, comparison):
    page = open_page(comparison)
    page.emulate_media(media="print")
    folded = page.locator("#certificate details").first
    assert folded.get_attribute("open") is None
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert folded.locator("tbody tr").last.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert folded.get_attribute("open") is None
    assert page.locator("#joints tfoot").evaluate("(e) => getComputedStyle(e).display") == "table-row-group"
    for kept in ("#joints table", "#limbs table", "#provenance pre"):
        assert page.locator(kept).evaluate("(e) => getComputedStyle(e).breakInside") == "avoid"
    assert folded.locator("tbody tr").last.evaluate("(e) => getComputedStyle(e).breakAfter") == "avoid"
    assert "Printed are" not in page.locator("#persons").inner_text(), "there are 9"


def test_can_be_printed(open_page, comparison):
    page = open_page(comparison, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("nav").is_visible()
    assert not page.locator("#controls").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf().startswith(b"%PDF")


def test_printed_pages_begin_with_no_picture_s_first_pixel(open_page, comparison):
    page = open_page(comparison)
    page.emulate_media(media="print")
    gaps = page.evaluate(
        """() => [...document.querySelectorAll('#gallery li')].map((person) =>
            person.querySelector('.picture').getBoundingClientRect().top - person.getBoundingClientRect().top)"""
    )
    assert min(gaps) >= 2, "it would be a sliver at the end of the page before"


@pytest.mark.parametrize("width", [1280, 390])
def test_headings_of_both_sides_stand_in_one_line(open_page, comparison, width):
    page = open_page(comparison, viewport={"width": width, "height": 844})
    heights = page.locator("#joints th.side").evaluate_all("(all) => all.map((e) => e.clientHeight)")
    assert len(heights) >= 6
    assert max(heights) < 1.4 * page.locator("#joints tbody td").first.evaluate("(e) => e.clientHeight")
    aligned = page.locator("th.side").evaluate_all("(all) => all.map((e) => getComputedStyle(e).textAlign)")
    assert set(aligned) == {"right"}, "above their numbers"


def test_numbers_of_the_limbs_do_not_overlap(open_page, comparison):
    page = open_page(comparison)
    boxes = page.locator("#limbs svg .number").evaluate_all(
        "(all) => all.map((e) => e.getBBox()).map((box) => [box.y, box.y + box.height])"
    )
    assert len(boxes) >= 8
    assert all(after[0] >= before[1] - 0.5 for before, after in pairwise(boxes))


def test_enlarged_on_a_phone_begins_with_the_picture_and_its_buttons_are_in_sight(open_page, comparison):
    page = open_page(comparison, viewport={"width": 390, "height": 844})
    page.get_by_role("button", name=re.compile("^Enlarge")).first.click()
    dialog = page.get_by_role("dialog")
    for _ in range(2):
        assert dialog.evaluate("(e) => e.scrollHeight > e.clientHeight"), "otherwise nothing is shown by this"
        frame = dialog.bounding_box()
        assert dialog.locator(".picture").bounding_box()["y"] >= frame["y"]
        for name in ("Previous", "Next", "Close"):
            box = dialog.get_by_text(name, exact=True).bounding_box()
            assert box["y"] + box["height"] <= frame["y"] + frame["height"]
        dialog.evaluate("(e) => { e.scrollTop = 200; }")
        dialog.get_by_text("Next").click()


def test_what_is_not_text_has_a_name(open_page, report, comparison):
    for path in (report[0], comparison):
        page = open_page(path)
        unnamed = page.evaluate(
            """() => [
                ...[...document.querySelectorAll('img')].filter((e) => !e.alt),
                ...[...document.querySelectorAll('svg')].filter((e) =>
                    e.getAttribute('aria-hidden') !== 'true' && !(e.getAttribute('role') === 'img' && e.ariaLabel)),
                ...[...document.querySelectorAll('input, select, output')].filter((e) =>
                    !(e.labels && e.labels.length) && e.tagName !== 'OUTPUT'),
                ...[...document.querySelectorAll('[role=region], dialog, nav')].filter((e) => !e.ariaLabel),
                ...[...document.querySelectorAll('th')].filter((e) => !e.scope),
                ...[...document.querySelectorAll('a')].filter((e) => !e.textContent.trim()),
            ].map((e) => e.outerHTML.slice(0, 200))"""
        )
        assert unnamed == []
        assert page.evaluate("document.documentElement.lang") == "en"
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
        assert len(ids) == len(set(ids))
        levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map((e) => Number(e.tagName[1]))")
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))


def luminance(colour):
    """A colour's relative luminance, WCAG 2.2."""
    parts = [value / 255 for value in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one, other):
    """The contrast of two colours, WCAG 2.2."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
