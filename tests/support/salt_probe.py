"""Runs inside a node under real Salt: what its loader and its state compiler say of every SLS, as JSON.

python3 salt_probe.py CONFIGURATION SLS...
"""

import json
import sys
import typing

import salt.client
import salt.config
import salt.state


def main(configuration: str, names: list[str], tested: list[str]) -> None:
    caller = salt.client.Caller(mopts=salt.config.minion_config(f"{configuration}/minion"))
    caller.cmd("saltutil.sync_all", saltenv=caller.opts["saltenv"])
    # The first caller had no external pillar yet.
    caller = salt.client.Caller(mopts=salt.config.minion_config(f"{configuration}/minion"))
    call: typing.Callable[..., typing.Any] = caller.cmd
    low = {name: call("state.show_low_sls", name) for name in names}
    functions = sorted(
        {f"{row['state']}.{row['fun']}" for rows in low.values() for row in rows if isinstance(row, dict)}
    )
    report = {
        "pillar": caller.opts["pillar"],
        "top": call("state.show_top"),
        "low": low,
        "arguments": {name: call("sys.state_argspec", name).get(name) for name in functions},
        "keywords": sorted(salt.state.STATE_INTERNAL_KEYWORDS | {"state", "fun", "__env__", "__sls__", "__id__"}),
        "tests": {name: call("state.apply", name, test=True) for name in tested},
    }
    json.dump(report, sys.stdout)


end = sys.argv.index("--")
main(sys.argv[1], sys.argv[2:end], sys.argv[end + 1 :])
