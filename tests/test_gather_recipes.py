"""Recipes: pictures and facts from pages, and the messages if a recipe does not match."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clusterkit.classifiers import Classifier, train_classifier
from clusterkit.datasets.labelled_images import read_labelled
from clusterkit.errors import ClusterkitError, InvalidInputError, NotFoundError
from clusterkit.images.folder import ImageFolder
from clusterkit.preparation.gathering import gather
from clusterkit.preparation.gathering.manifest import MANIFEST_NAME
from clusterkit.preparation.gathering.recipes import extract, is_nested_too_deep, read_recipe
from tests.picture_server import PictureServer, Reply, picture, serving

FAST: dict[str, Any] = {"rate": 1000.0, "allow_private": ["127.0.0.1"], "random_state": 0}
EXAMPLES = Path(__file__).parent.parent / "examples"
HTML = {"Content-Type": "text/html; charset=utf-8"}
N_FILMS, N_PAGES = 4, 5


def film(number: int) -> str:
    """Return the item of a film; the first of a page has one genre."""
    genres = ["Drama"] if number % N_FILMS == 0 else ["Action", "Drama"]
    links = "".join(f"<a class=genre>{genre}</a>, " for genre in genres)
    return (
        f'<li class=film><img class=poster src="data:image/gif;base64,R0" data-src="/{number}.jpg">'
        f"<h3>\n  The <i>Film</i>\n {number} </h3> {links}"
        f"<span class=rating>{number % 10}.5</span><time datetime=19{number:02}></time></li>"
    )


def film_page(page: int) -> Reply:
    items = "".join(film(N_FILMS * page + number) for number in range(N_FILMS))
    return Reply(f"<title>Top films</title><ul>{items}</ul>".encode(), headers=HTML)


def film_replies() -> dict[str, Any]:
    replies: dict[str, Any] = {f"/top?page={n + 1}": film_page(n) for n in range(N_PAGES)}
    return replies | {f"/{n}.jpg": Reply(picture(n)) for n in range(N_FILMS * N_PAGES)}


@pytest.fixture
def films() -> Iterator[PictureServer]:
    with serving(film_replies()) as server:
        yield server


def film_recipe(folder: Path, server: PictureServer, *changes: tuple[str, str]) -> Path:
    """Return the example's recipe for this server."""
    text = (EXAMPLES / "posters.toml").read_text()
    assert text.count("http://films.example/") == 1
    text = text.replace("http://films.example/", server.url("/"))
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    file = folder / "recipe.toml"
    file.write_text(text)
    return file


def test_a_list_of_titles_becomes_posters_and_a_table_that_trains(
    tmp_path: Path, films: PictureServer, untrained: None
) -> None:
    found = gather(film_recipe(tmp_path, films), tmp_path / "out", **FAST)
    assert not found.failures
    assert found.table is not None
    assert found.to_dict()["labels"] == str(found.table)
    header, first, *_ = found.table.read_text().splitlines()
    assert header == "path,label,title,rating,year"
    assert first == "images/0.jpg,Drama,The Film 0,0.5,1900"
    with pytest.warns(match="labels from column 'label'"):
        data = read_labelled(found.table)
    assert data.is_multilabel
    assert data.class_counts == {"Action": 15, "Drama": 20}
    with pytest.warns(match="labels from column 'label'"):
        trained = train_classifier(
            found.table,
            tmp_path / "genres.keras",
            Classifier("two-conv", image_size=8, epochs=1, random_state=0),
        )
    assert list(trained.classifier.classes_) == ["Action", "Drama"]


def test_one_label_an_item_makes_folders_and_a_table_of_facts(
    tmp_path: Path, films: PictureServer
) -> None:
    file = film_recipe(tmp_path, films, ("several = true", "several = false"))
    found = gather(file, tmp_path / "out", **FAST)
    assert read_labelled(tmp_path / "out").class_counts == {"Action": 15, "Drama": 5}
    with pytest.warns(match="labels from column 'label'"):
        data = read_labelled(tmp_path / "out/labels.csv")
    assert data.class_counts == found.class_counts


def test_a_label_that_would_be_read_as_several_is_told(
    tmp_path: Path, films: PictureServer
) -> None:
    body = film(0).replace(">Drama<", ">Drama | Comedy<") + film(1)
    films.replies["/top?page=1"] = Reply(body.encode(), headers=HTML)
    changes = ("several = true", "several = false"), ("{1..5}", "1")
    with pytest.warns(UserWarning, match=r"label 'Drama \| Comedy' reads as several"):
        gather(film_recipe(tmp_path, films, *changes), tmp_path / "out", **FAST)
    changes = ("several = true", 'separator = "|"'), ("{1..5}", "1")
    gather(film_recipe(tmp_path, films, *changes), tmp_path / "several", **FAST)
    with pytest.warns(match="labels from column 'label'"):
        data = read_labelled(tmp_path / "several/labels.csv")
    assert data.class_counts == {"Action": 1, "Comedy": 1, "Drama": 1}


def test_only_so_many_are_taken_and_no_page_too_many(tmp_path: Path, films: PictureServer) -> None:
    found = gather(film_recipe(tmp_path, films), tmp_path / "out", max_images=5, **FAST)
    assert len(found.stored) == 5
    assert [films.asked(f"/top?page={n}") for n in (1, 2, 3)] == [1, 1, 0]


def test_a_dry_run_looks_at_the_pages_and_writes_nothing(
    tmp_path: Path, films: PictureServer
) -> None:
    found = gather(film_recipe(tmp_path, films), tmp_path / "out", dry_run=True, **FAST)
    assert "20 pictures would be gathered from 1 host" in found.to_text()
    assert films.asked() == N_PAGES
    assert not (tmp_path / "out").exists()


def test_pages_of_a_run_that_was_cut_are_not_asked_for_again(
    tmp_path: Path, films: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    recipe = film_recipe(tmp_path, films)
    with monkeypatch.context() as patch:
        patch.setattr("clusterkit.preparation.gathering.from_web._Run.download", die)
        with pytest.raises(Killed):
            gather(recipe, tmp_path / "out", **FAST)
        # With other selectors, the pages have to be read again.
        changed = film_recipe(tmp_path, films, ("h3", "h3 i"))
        with pytest.raises(Killed):
            gather(changed, tmp_path / "other", **FAST)
        with pytest.raises(Killed):
            gather(film_recipe(tmp_path, films), tmp_path / "other", **FAST)
    assert films.asked() == 3 * N_PAGES
    films.requests.clear()
    found = gather(recipe, tmp_path / "out", **FAST)
    assert films.asked() == 20 == len(found.stored)
    # After a complete run, the list is read again, since it may have grown.
    films.replies["/top?page=5"] = Reply(
        f"<title>Top</title>{film(19)}{film(99)}".encode(), headers=HTML
    )
    films.replies["/99.jpg"] = Reply(picture(99))
    found = gather(recipe, tmp_path / "out", **FAST)
    assert films.asked() == N_PAGES + 21
    assert "1 new, 17 there before" in found.to_text()
    assert found.table is not None
    assert len(found.table.read_text().splitlines()) == 22


def test_pages_follow_each_other(tmp_path: Path) -> None:
    def page(n: int, link: str) -> Reply:
        return Reply(f"<h1>Cats</h1><p><img src=../{n}.jpg>{link}".encode(), headers=HTML)

    replies = {
        "/list/1": page(1, "<a class=more href=2#top>"),
        "/list/2": page(2, "<a class=more href=1>"),
        "/1.jpg": Reply(picture(1)),
        "/2.jpg": Reply(picture(2)),
    }
    with serving(replies) as server:
        file = tmp_path / "r.toml"
        file.write_text(
            f'pages = "{server.url("/list/1")}"\nnext = "a.more"\nitem = "img"\npicture = "img"\n'
            'label = "what"\n[fields]\nwhat = {select = "h1", of_page = true}\n'
        )
        gather(file, tmp_path / "out", **FAST)
    assert ImageFolder(tmp_path / "out").paths == ["Cats/1.jpg", "Cats/2.jpg"]


# Recipes that do not match their pages.


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('item = "li.film"', 'item = "li.book"', r"item = 'li.book' fits nothing on .*'Top films'"),
        ("img.poster", "img.cover", r"picture = 'img.cover' fits nothing in the 20 items .*films'"),
        ('"h3"', '"h9"', r"title = 'h9' fits nothing in the 20 items of .*'Top films'"),
    ],
)
def test_a_selector_that_finds_nothing_is_told_with_the_title(
    tmp_path: Path, films: PictureServer, before: str, after: str, message: str
) -> None:
    file = film_recipe(tmp_path, films, (before, after))
    with pytest.raises(InvalidInputError, match=message):
        gather(file, tmp_path / "out", **FAST)
    assert films.asked("/0.jpg") == 0
    # Nothing is left incomplete.
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('item = "li.film"', 'items = "li.film"', "items is not known.*Did you mean item"),
        ('item = "li.film"', "", "item is missing"),
        ('item = "li.film"', "item = 3", "item must be a CSS selector"),
        ('item = "li.film"', 'item = "li..film"', "item must be a CSS selector.*li..film"),
        ("several = true", "many = true", r"fields.genres.many is not known"),
        ("several = true", 'several = "yes"', "several must be true or false"),
        ('label = "genres"', 'label = "genre"', "label must be one of the fields"),
        ('label = "genres"', "", "'genres' would be taken for the labels"),
        ("rating =", "split =", "'split' would be taken for"),
        ("rating =", "path =", "'path' would be taken for"),
        ('label = "genres"', 'label = ["genres"]', "label must be one of the fields"),
        ('"li.film"', '{ select = "li.film", several = true }', "item.several is not known"),
        ("picture = {", "picture = { of_page = true,", "picture.of_page is not known"),
        ("{1..5}", "{1..5}&part={1..3}", "one range of numbers at most"),
        ("{1..5}", "{5..1}", "pages must be from a number to a larger one"),
        ("{1..5}", "{1..99999}", "1000 at most"),
        ("label =", "max_pages = 0\nlabel =", "max_pages must be a whole number"),
        ("label =", "label", "cannot read"),
        ("http://", "ftp://", "pages: an address that does not"),
    ],
)
def test_a_recipe_is_checked_before_any_work(
    tmp_path: Path, films: PictureServer, before: str, after: str, message: str
) -> None:
    file = film_recipe(tmp_path, films, (before, after))
    with pytest.raises(InvalidInputError, match=message):
        gather(file, tmp_path / "out", **FAST)
    assert films.n_connections == 0
    with pytest.raises(NotFoundError):
        gather(tmp_path / "no.toml", tmp_path / "out", **FAST)


def test_numbers_of_pages_keep_their_zeros(tmp_path: Path, films: PictureServer) -> None:
    recipe = read_recipe(film_recipe(tmp_path, films, ("{1..5}", "{08..11}")))
    assert [page.rpartition("=")[2] for page in recipe.pages] == ["08", "09", "10", "11"]


def test_a_fact_with_the_name_of_a_column_has_a_column_of_its_own(
    tmp_path: Path, films: PictureServer
) -> None:
    file = film_recipe(tmp_path, films, ("year =", "date ="), ("{1..5}", "1"))
    frame = gather(file, tmp_path / "out", **FAST).to_frame()
    assert frame.columns.is_unique
    assert list(frame["date (fact)"]) == ["1900", "1901", "1902", "1903"]


def test_pages_beyond_the_most_are_told(tmp_path: Path, films: PictureServer) -> None:
    file = film_recipe(tmp_path, films, ("label =", "max_pages = 2\nlabel ="))
    with pytest.warns(UserWarning, match="left out 3 pages of .*: max_pages is 2"):
        found = gather(file, tmp_path / "out", dry_run=True, **FAST)
    assert len(found.waiting) == 2 * N_FILMS


def test_as_many_are_taken_as_asked_for_if_some_cannot_be(
    tmp_path: Path, films: PictureServer
) -> None:
    # Without a label, and the picture of another.
    bare = film(0).replace("<a class=genre>Drama</a>", "")
    body = bare + film(1) + film(1)
    films.replies["/top?page=1"] = Reply(body.encode(), headers=HTML)
    file = film_recipe(tmp_path, films, ("several = true", "several = false"))
    with pytest.warns(UserWarning, match="left out 1 picture without a label"):
        found = gather(file, tmp_path / "out", max_images=3, **FAST)
    assert len(found.stored) == 3
    assert [films.asked(f"/top?page={n}") for n in (1, 2, 3)] == [1, 1, 0]


def test_pages_that_cannot_be_read_are_failures(tmp_path: Path, films: PictureServer) -> None:
    films.replies["/top?page=2"] = Reply(b"", 404)
    films.replies["/top?page=3"] = Reply(b"x", headers={"Content-Type": "application/pdf"})
    no = b'<title>T</title><meta name="Robots" content="noimageai"><li class=film>'
    films.replies["/top?page=4"] = Reply(no, headers=HTML)
    films.replies["/top?page=5"] = Reply(b"<title>Empty</title>", headers=HTML)
    with pytest.warns(UserWarning, match=r"fits nothing on 1 page, .*'Empty'"):
        found = gather(film_recipe(tmp_path, films), tmp_path / "out", **FAST)
    assert len(found.stored) == 4
    assert [row.reason for row in found.failures] == [
        "page: HTTP 404 Not Found",
        "page: it is application/pdf, not a web page",
        "page: the page forbids it: noimageai (meta robots)",
    ]
    assert (tmp_path / "out" / MANIFEST_NAME).read_text().count("page: ") == 3


def test_a_page_that_would_take_minutes_is_refused(tmp_path: Path, films: PictureServer) -> None:
    deep = b"<div>" * 400_000 + b"</div>" * 400_000
    films.replies["/top?page=2"] = Reply(deep, headers=HTML)
    found = gather(film_recipe(tmp_path, films), tmp_path / "out", **FAST)
    assert [row.reason for row in found.failures] == ["page: its elements are nested too deep"]
    assert not is_nested_too_deep(b"<ul>" + b"<li><img src=a><br><b>x</b></li>" * 50_000)


def test_if_no_page_can_be_read_it_is_an_error(tmp_path: Path) -> None:
    with serving({}) as server:
        file = film_recipe(tmp_path, server)
        with pytest.raises(InvalidInputError, match=r"none of the pages .* HTTP 404"):
            gather(file, tmp_path / "out", **FAST)
    assert not (tmp_path / "out").exists()


def test_items_without_a_picture_or_with_that_of_another_are_told(
    tmp_path: Path, films: PictureServer
) -> None:
    body = film(0) + film(1).replace("/1.jpg", "/0.jpg") + "<li class=film><h3>None</h3></li>"
    body += "<li class=film><img class=poster src='data:image/gif;base64,R0'></li>"
    films.replies["/top?page=1"] = Reply(body.encode(), headers=HTML)
    file = film_recipe(tmp_path, films, ("{1..5}", "1"))
    with pytest.warns(UserWarning, match="left out") as told:
        found = gather(file, tmp_path / "out", **FAST)
    said = "\n".join(str(one.message) for one in told)
    assert "left out 1 item without a picture" in said
    assert "left out 1 item whose picture has no address of the web" in said
    assert "left out 1 item with the picture of an earlier one" in said
    assert len(found.stored) == 1


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        ("<p>Käse</p>".encode(), "text/html"),
        ("<p>Käse</p>".encode("latin-1"), "text/html; charset=ISO-8859-1"),
        ('<meta charset="windows-1252"><p>Käse</p>'.encode("cp1252"), "text/html"),
        ("<p>Käse</p>".encode("cp1252"), "text/html; charset=us-ascii"),
        ("<p>Käse</p>".encode(), "text/html; charset=undefined"),
        ("<p>Käse</p>".encode(), "text/html; charset=idna"),
        ("<p>Käse</p>".encode(), "text/html; charset=hex"),
        (b"\xef\xbb\xbf" + "<p>Käse</p>".encode(), "text/html; charset=nonsense"),
    ],
)
def test_pages_of_any_encoding(tmp_path: Path, content: bytes, content_type: str) -> None:
    file = tmp_path / "r.toml"
    file.write_text(
        'pages = "http://a.org/"\nitem = "body"\npicture = "p"\n[fields]\ntitle = "p"\n'
    )
    content += b"<img src=/a.jpg>"
    recipe = read_recipe(file)
    page = extract(recipe, content.replace(b"<p>", b"<p src=x>"), content_type, "http://a.org/b/")
    assert page.items[0].facts == {"title": "Käse"}
    assert page.items[0].address == "http://a.org/b/x"


# The examples that are included.

BOOKS = b"""<html><head><title>Travel | Books to Scrape</title></head><body>
<div class="page-header action"><h1>Travel</h1></div>
<article class="product_pod"><div class="image_container"><a href="../../../a_981/index.html">
<img src="../../../../media/cache/27/a5/27a5.jpg" alt="A" class="thumbnail"></a></div>
<p class="star-rating Two"></p><h3><a href="../../../a_981/index.html" title="A Book">A ...</a></h3>
<div class="product_price"><p class="price_color">\xc2\xa345.17</p></div></article>
<ul class="pager"><li class="next"><a href="page-2.html">next</a></li></ul></body></html>"""


def test_the_example_of_book_covers_fits_its_page() -> None:
    recipe = read_recipe(EXAMPLES / "book_covers.toml")
    page = extract(recipe, BOOKS, "text/html", recipe.pages[0])
    (book,) = page.items
    assert book.address == "https://books.toscrape.com/media/cache/27/a5/27a5.jpg"
    assert book.labels == ("Travel",)
    assert book.facts == {"title": "A Book", "price": "£45.17"}
    assert page.next is not None
    assert page.next.endswith("/travel_2/page-2.html")


def test_all_recipes_among_the_examples_are_valid() -> None:
    files = sorted(EXAMPLES.glob("*.toml"))
    assert len(files) == 2
    for file in files:
        assert read_recipe(file).pages
    with pytest.raises(ClusterkitError):
        read_recipe(EXAMPLES / "README.md")
