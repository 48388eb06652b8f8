"""A page in headless Chromium: what a script finds in it, and what is requested while it loads."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LOCAL = ("file:", "data:", "about:", "chrome:")
QUIET = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync", "--no-pings"),
    *("--disable-background-networking", "--disable-component-update", "--metrics-recording-only"),
    *("--disable-default-apps", "--disable-extensions", "--disable-domain-reliability"),
    *("--disable-client-side-phishing-detection", "--host-resolver-rules=MAP * ~NOTFOUND"),
)
BROWSER = "not an origin"
PROBE = """<script>
addEventListener("load", async () => {
  const found = await (%s)();
  const output = document.createElement("pre");
  output.id = "probe";
  output.textContent = JSON.stringify(found);
  document.body.append(output);
});
</script>"""


def look(html: str, script: str, folder: Path) -> tuple[Any, list[str]]:
    """What the function `script` returns in the loaded page, and every address that is not this file's own.

    Args:
        html: the page; the script is added at its end.
        folder: empty, for the page, the browser's profile and its log.
    """
    assert CHROMIUM is not None
    page, log = folder / "page.html", folder / "net.json"
    before, end, after = html.rpartition("</body>")
    page.write_text(before + PROBE % script + end + after, encoding="utf-8")
    command = [CHROMIUM, *QUIET, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, f"the page was not loaded: {done.stdout[-500:]}"
    return json.loads(unescape(found[1])), requested(log)


def requested(log: Path) -> list[str]:
    """Addresses that pages asked for, in Chromium's log.

    What the browser asks for itself (is there a new version, what time is it) has no origin as its initiator,
    and finds no host. A request of a page is in the log whether or not its host is found.
    """
    content = json.loads(log.read_text(encoding="utf-8"))
    started = content["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    jobs = [event["params"] for event in content["events"] if event["type"] == started and "params" in event]
    asked = {job["url"] for job in jobs if "url" in job and job.get("initiator") != BROWSER}
    return sorted(address for address in asked if not address.startswith(LOCAL))
