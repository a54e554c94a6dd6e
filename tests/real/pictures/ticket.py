"""Takes a picture of a ticket in RT: `ticket.py URL FILE`. The page's menu and footer are cut off."""

import sys

from playwright.sync_api import expect, sync_playwright

url, file = sys.argv[1:]
# A reader's rights and no unset fields: what is left is the ticket, in RT's own words.
page_url = f"{url}&user=ada&pass=ada-password&HideUnsetFields=1"

with sync_playwright() as playwright:
    # Root's browser can't have Chromium's sandbox; it sees a page of this machine only.
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1000, "height": 1400}, device_scale_factor=1.3)
    page.goto(page_url, wait_until="networkidle", timeout=120_000)
    # What the incident has, RT shows.
    expect(page.locator("#header")).to_contain_text("trd-gw1 is down")
    expect(page.locator(".titlebox.ticket-info-cfs")).to_contain_text("critical")
    expect(page.locator(".titlebox.ticket-info-links")).to_contain_text("https://argus.example/incidents/42")
    history = page.locator(".history.ticket")
    expect(history).to_contain_text("host=trd-gw1.example.org")
    menu, ticket = page.locator("#quickbar").bounding_box(), history.bounding_box()
    top = menu["y"] + menu["height"]
    bottom = ticket["y"] + ticket["height"] + 20
    page.screenshot(path=file, full_page=True, clip={"x": 0, "y": top, "width": 1000, "height": bottom - top})
    browser.close()
