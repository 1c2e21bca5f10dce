"""What holds for all pages."""

from __future__ import annotations

from typing import Any


async def test_what_customers_are_called_is_escaped(seller: Any) -> None:
    await seller.customer(name="<script>alert(1)</script>")
    await seller.use("k1", input=1)
    page = await seller.show(seller.link((await seller.close_month()).id))
    assert "<script>alert(1)</script>" in page.text  # As text: the parser saw no such tag.
    assert "script" not in [tag for tag, _ in page.tags]
    assert "script" not in [tag for tag, _ in (await seller.show_admin()).tags]


async def test_pages_are_accessible_and_load_nothing_from_elsewhere(seller: Any) -> None:
    await seller.busy()
    path = seller.link((await seller.close_month()).id)
    for page in [
        await seller.show(path),
        await seller.show_admin(),
        await seller.show_admin("/admin/customers/cus_ada"),
    ]:
        tags = [tag for tag, _ in page.tags]
        assert dict(page.tags)["html"] == {"lang": "en"}
        assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
        assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
        assert all(
            attributes.get("aria-label")
            for tag, attributes in page.tags
            if attributes.get("role") == "region"
        )
        assert not {"script", "img", "iframe", "style"} & set(tags)
        assert all("style" not in attributes for _, attributes in page.tags)
        [style] = [attributes["href"] for tag, attributes in page.tags if tag == "link"]
        assert style is not None and style.startswith("/static/pages.css?v=")
    async with seller.browser() as browser:
        answer = await browser.get(path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == (
            "no-referrer",
            "no-store",
        )
        sheet = await browser.get(style)
    assert sheet.headers["content-type"].startswith("text/css")
    assert "@media print" in sheet.text and "prefers-color-scheme: dark" in sheet.text


async def test_the_front_door_speaks_to_programs_and_to_people(seller: Any) -> None:
    async with seller.browser() as browser:
        assert (await browser.get("/")).json()["links"]["admin"] == "http://localhost:4242/admin"
    page = await seller.show("/", accept="text/html,*/*")
    assert "http://localhost:4242/healthz" in [attributes.get("href") for _, attributes in page.tags]
