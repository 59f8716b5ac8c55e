"""The exports of the world `policy-plugin` (wit/): the policy in the contract's words."""

import json

from wit_world import exports
from wit_world.exports import policy as contract
from wit_world.imports.types import Violation

import policy


class Plugin(exports.Plugin):
    def describe(self):
        return json.dumps(policy.MANIFEST)

    def validate_settings(self, settings):
        try:
            policy.settings(settings)
        except policy.BadSettings as bad:
            return [Violation(field, message) for field, message in bad.violations]
        return []


class Policy(exports.Policy):
    def review(self, observed, planned):
        try:
            verdict, what = policy.review(observed.settings, planned.desired)
        except (policy.BadSettings, ValueError, AttributeError) as problem:
            # What cannot be judged does not pass.
            return contract.Verdict_Deny(f"the plan could not be judged: {problem}")
        if verdict == "deny":
            return contract.Verdict_Deny(what)
        if verdict == "amend":
            return contract.Verdict_Amend(json.dumps(what))
        return contract.Verdict_Pass()
