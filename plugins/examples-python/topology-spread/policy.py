"""The decision: pods of StatefulSets are spread over the machines. What the contract wants is in plugin.py."""

import json

MANIFEST = {
    "name": "topology-spread",
    "version": "0.1.0",
    "description": "Has the pods of StatefulSets spread over zones, nodes, or what else a label tells apart",
    "policy": {
        "reviews": ["*"],
        "writes": [{"apiVersion": "apps/v1", "kind": "StatefulSet"}],
        # An interpreter: it takes more to begin with than a plugin in Rust does.
        "limits": {"memoryMib": 128, "milliseconds": 2000},
    },
}

# From the laxer to the stricter.
WAYS = ["ScheduleAnyway", "DoNotSchedule"]
DEFAULTS = {
    "topologyKey": "topology.kubernetes.io/zone",
    "maxSkew": 1,
    "whenUnsatisfiable": "DoNotSchedule",
    "add": True,
}


class BadSettings(Exception):
    """Rules that the settings break: pairs of a field and what is wrong with it."""

    def __init__(self, violations):
        super().__init__("; ".join(f"{field}: {message}" for field, message in violations))
        self.violations = violations


def settings(text):
    """The settings with defaults, from JSON text."""
    try:
        given = json.loads(text.strip() or "{}")
    except ValueError as error:
        raise BadSettings([("settings", f"are no JSON: {error}")]) from error
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise BadSettings([("settings", 'are to be an object, such as {"maxSkew": 1}')])
    known = ", ".join(DEFAULTS)
    wrong = [(field, f"is not known: there are {known}") for field in given if field not in DEFAULTS]
    said = {**DEFAULTS, **{field: value for field, value in given.items() if field in DEFAULTS}}
    key, skew, way, add = (said[field] for field in DEFAULTS)
    if not isinstance(key, str) or not key:
        wrong.append(("topologyKey", "is to be a label of nodes, such as kubernetes.io/hostname"))
    # To Python, True is a number.
    if isinstance(skew, bool) or not isinstance(skew, int) or skew < 1:
        wrong.append(("maxSkew", f"is to be a whole number from 1 on; it is {json.dumps(skew)}"))
    if way not in WAYS:
        wrong.append(("whenUnsatisfiable", f"is to be one of {', '.join(WAYS)}; it is {json.dumps(way)}"))
    if not isinstance(add, bool):
        wrong.append(("add", "is to be true (missing constraints are added) or false (a plan without them is denied)"))
    if wrong:
        raise BadSettings(wrong)
    return said


def satisfies(constraint, wanted):
    """Whether a constraint is as strict as the one that is wanted."""
    way = constraint.get("whenUnsatisfiable")
    return (
        constraint.get("topologyKey") == wanted["topologyKey"]
        and constraint.get("maxSkew", wanted["maxSkew"] + 1) <= wanted["maxSkew"]
        and way in WAYS
        and WAYS.index(way) >= WAYS.index(wanted["whenUnsatisfiable"])
    )


def review(settings_text, desired):
    """The verdict on a plan that wants these objects (with `id` and `body`): `("pass", None)`, `("amend", operations)` or
    `("deny", why)`."""
    wanted = settings(settings_text)
    lacking, operations = [], []
    # The document of an amendment is sorted by kind, then by name.
    for index, planned in enumerate(sorted(desired, key=lambda planned: (planned.id.kind, planned.id.name))):
        if planned.id.kind != "StatefulSet":
            continue
        spec = json.loads(planned.body).get("spec") or {}
        pod = (spec.get("template") or {}).get("spec")
        if pod is None:
            continue
        constraints = pod.get("topologySpreadConstraints") or []
        if any(satisfies(constraint, wanted) for constraint in constraints):
            continue
        lacking.append(planned.id.name)
        constraint = {field: wanted[field] for field in ("maxSkew", "topologyKey", "whenUnsatisfiable")}
        constraint["labelSelector"] = spec.get("selector") or {}
        # One laxer constraint on the same label is replaced; what else is there stays.
        kept = [other for other in constraints if other.get("topologyKey") != wanted["topologyKey"]]
        path = f"/desired/{index}/spec/template/spec/topologySpreadConstraints"
        operations.append({"op": "add", "path": path, "value": [*kept, constraint]})
    if not lacking:
        return "pass", None
    if wanted["add"]:
        return "amend", operations
    names = ", ".join(f"`{name}`" for name in lacking)
    return "deny", (
        f"the pods of StatefulSet {names} have to be spread: topologySpreadConstraints with "
        f"topologyKey {wanted['topologyKey']}, maxSkew {wanted['maxSkew']} or less, "
        f"whenUnsatisfiable {wanted['whenUnsatisfiable']}"
    )
