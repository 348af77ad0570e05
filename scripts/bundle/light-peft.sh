#!/bin/sh
# Stands in for `npm run` where there is no npm: runs a script of package.json with the Node.js that came along.
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) && cd "$here" || exit 2
PATH="$here/bin:$PATH"
export PATH

# Those that Node.js runs; the others need tools for development.
list='Object.entries(require("./package.json").scripts).filter(([, script]) => script.startsWith("node "))'
names=$(node -p "$list.map(([name]) => name).join(', ')") || exit 2
script=$(node -p "$list.find(([name]) => name === process.argv[1])?.[1] ?? ''" -- "${1-}") || exit 2
if [ -z "$script" ]; then
  echo "light-peft: [BAD_OPTION] no script is called '${1-}'; there are $names" >&2
  exit 2
fi
shift
# As npm does, so that a command can be given in either way.
[ "${1-}" != -- ] || shift
eval "exec $script \"\$@\""
