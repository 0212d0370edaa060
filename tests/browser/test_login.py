"""Login in a real browser: what a person sees, and what the browser lets no other page do."""


async def test_a_person_logs_in_and_out_with_the_keyboard_alone(house, page):
    """The field has the focus, Enter sends it, and the logout is reached by Tab."""
    await page.open(house.servers[0].url)
    await page.shows("Log in")
    await page.call("Input.insertText", text=house.token.value)
    await page.press("Enter")
    await page.shows(house.profile.name)
    for _ in range(20):
        await page.press("Tab")
        if await page.evaluate("document.activeElement.innerText") == "Log out":
            break
    await page.press("Enter")
    await page.until("location.pathname === '/login'")

    assert page.console == []


async def test_the_browser_keeps_the_visit_from_scripts(house, page):
    """The cookie is there, and no script sees it."""
    await page.open(house.servers[0].url)
    await page.type("#token", house.token.value)
    await page.click("main button")
    await page.shows(house.profile.name)
    cookies = (await page.call("Network.getCookies"))["cookies"]

    assert [(cookie["httpOnly"], cookie["sameSite"], cookie["path"]) for cookie in cookies] == [(True, "Lax", "/")]
    assert await page.evaluate("document.cookie") == ""


async def test_nothing_inline_runs(house, page):
    """Text that somebody smuggled into a page stays text: the policy refuses it as script and as style."""
    await page.open(house.servers[0].url)
    await page.evaluate(
        """document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.ran = true'>");
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);"""
    )
    await page.until("true")

    assert await page.evaluate("window.ran === undefined")
    assert any("Content Security Policy" in line for line in page.console)
