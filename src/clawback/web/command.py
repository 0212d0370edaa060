"""
The command that a person pastes into a shell to set Claude Code up. Pure.

It carries a code that is good once and for 10 minutes, and no token: what was pasted is in the shell's history. The
code goes from the shell's own `echo` through standard input, and never into a process's arguments, which every user of
the machine can read: the first of them to use it would have the token. The command fetches the config file with the
code, and puts it in place whole and for its owner alone.

The text is ours but for two things, and those hold nothing that any shell knows: a code of `[a-z0-9]`, and the public
URL, whose characters the settings restrict. No name of a person is in it.

`echo … | sh -c '…'` runs the same in sh, dash, bash, zsh and fish: within single quotes these differ in one thing, that
fish takes a backslash before a single quote or another backslash for an escape, and neither is in the text.
"""

import re
from string import Template

_URL = re.compile(r"https?://[A-Za-z0-9._~:/\[\]-]+")
_CODE = re.compile(r"[a-z0-9]{20,64}")

_SHELL = Template(
    r"""echo $code | sh -c 'set -eu
url="$url"
read -r code
file="$${CLAWBACK_CONFIG:-$${CLAUDE_CONFIG_DIR:-$$HOME/.claude}/channels/clawback/config.json}"
draft="$$file.$$$$"
give_up() { echo "$$1" >&2; exit 1; }
clean() { rm -f "$$draft"; }
command -v curl >/dev/null || give_up "This needs curl: install it, or run: clawback login --server $$url"
umask 077
mkdir -p "$$(dirname "$$file")"
trap clean EXIT
curl -gfsS --max-time 30$flags -H "Content-Type: application/json" -o "$$draft" -d @- "$$url/auth/cli/exchange" <<END ||
{"code":"$$code"}
END
give_up "No config came. A code is good once, for 10 minutes; get another at $$url/auth/cli"
if [ -f "$$file" ]; then rm -f "$$file.old"; cp "$$file" "$$file.old"; fi
mv -f "$$draft" "$$file"
echo "Saved to $$file, where the Clawback plugin of Claude Code finds it."'"""
)

# A block, so that it runs as a whole: of lines that are pasted alone, the next ones run after one that failed.
_POWERSHELL = Template("""\
& {
  $$ErrorActionPreference = "Stop"
  $$base = if ($$env:CLAUDE_CONFIG_DIR) { $$env:CLAUDE_CONFIG_DIR } else { Join-Path $$HOME ".claude" }
  $$usual = Join-Path $$base "channels/clawback/config.json"
  $$file = if ($$env:CLAWBACK_CONFIG) { $$env:CLAWBACK_CONFIG } else { $$usual }
  $$draft = "$$file.$$PID"
  $$null = New-Item -ItemType Directory -Force -Path (Split-Path $$file)
  $$null = New-Item -ItemType File -Force -Path $$draft
  if ($$env:OS -eq "Windows_NT") { $$null = icacls $$draft /inheritance:r /grant:r "$${env:USERNAME}:F" }
  else { chmod 600 $$draft }
  $$ask = @{ Method = "Post"; Uri = "$url/auth/cli/exchange"; ContentType = "application/json" }
  $$limits = @{ UseBasicParsing = $$true; TimeoutSec = 30; MaximumRedirection = 0 }
  $$answer = Invoke-WebRequest @ask @limits -Body '{"code":"$code"}'
  [IO.File]::WriteAllText($$draft, $$answer.Content)
  if (Test-Path $$file) { Copy-Item -Force $$file "$$file.old" }
  Move-Item -Force $$draft $$file
  "Saved to $$file, where the Clawback plugin of Claude Code finds it."
}""")


def build_shell_command(public_url: str, code: str, *, local: bool) -> str:
    """Write the command for every shell of Unix; `local` where the URL is this machine's, which no proxy reaches."""
    # Only the scheme that was asked for, whatever the environment's curlrc says.
    scheme = public_url.partition(":")[0]
    flags = f' --proto "={scheme}"' + (' --noproxy "*"' if local else "")
    return _SHELL.substitute(_checked(public_url, code), flags=flags)


def build_powershell_command(public_url: str, code: str) -> str:
    """Write the command for PowerShell."""
    return _POWERSHELL.substitute(_checked(public_url, code))


def _checked(public_url: str, code: str) -> dict[str, str]:
    assert _URL.fullmatch(public_url), "the settings let no other URL through"
    assert _CODE.fullmatch(code), "codes are made here"
    return {"url": public_url, "code": code}
