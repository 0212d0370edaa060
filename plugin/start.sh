#!/bin/sh
# Becomes the installed `clawback`, so that no process stands between it and Claude Code: a wrapper hides the end of
# stdin and signals. First what `clawback install` linked, then the PATH, then where uv and pipx put programs, which is
# not on the PATH of a Claude Code that was started from a desktop.
linked="${CLAUDE_CONFIG_DIR:-$HOME/.claude}/channels/clawback/bin/clawback"
for program in "$linked" "$(command -v clawback)" "$HOME/.local/bin/clawback"; do
  [ -x "$program" ] && exec "$program" "$@"
done
# Only the server says so: hooks run at every prompt.
case "$1" in hook | monitor) exit 0 ;; esac
echo "clawback: the program is not installed, or not where this plugin looks: $linked, the PATH, ~/.local/bin." >&2
echo "clawback: install Clawback, then run \`clawback install\` once." >&2
exit 127
