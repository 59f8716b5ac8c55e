"""Run with `python3 -m unittest` in this folder: nothing but Python is needed."""

import json
import unittest
from types import SimpleNamespace

import policy

ZONE = "topology.kubernetes.io/zone"


def planned(kind, name, body):
    return SimpleNamespace(id=SimpleNamespace(kind=kind, name=name), body=json.dumps(body))


def stateful_set(name, constraints=None):
    pod = {"containers": []} | ({} if constraints is None else {"topologySpreadConstraints": constraints})
    selector = {"matchLabels": {"app": name}}
    return planned("StatefulSet", name, {"spec": {"selector": selector, "template": {"spec": pod}}})


def constraint(key=ZONE, skew=1, way="DoNotSchedule"):
    return {"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": way}


class Review(unittest.TestCase):
    def test_a_missing_constraint_is_added_for_the_pods_of_the_set(self):
        desired = [stateful_set("b"), planned("Service", "z", {}), stateful_set("a", [constraint("other")])]
        verdict, operations = policy.review("", desired)
        self.assertEqual(verdict, "amend")
        added = lambda app: constraint() | {"labelSelector": {"matchLabels": {"app": app}}}
        path = "/desired/{}/spec/template/spec/topologySpreadConstraints".format
        # Sorted by kind and name: the Service is 0, `a` is 1, `b` is 2.
        self.assertEqual(
            operations,
            [
                {"op": "add", "path": path(1), "value": [constraint("other"), added("a")]},
                {"op": "add", "path": path(2), "value": [added("b")]},
            ],
        )

    def test_a_laxer_constraint_is_replaced_and_a_stricter_one_stays(self):
        text = json.dumps({"maxSkew": 2, "whenUnsatisfiable": "ScheduleAnyway"})
        for stricter in (constraint(), constraint(skew=2, way="ScheduleAnyway")):
            self.assertEqual(policy.review(text, [stateful_set("a", [stricter])]), ("pass", None))
        for laxer in (constraint(skew=3), constraint(way="Never"), {"topologyKey": ZONE}):
            verdict, [operation] = policy.review(text, [stateful_set("a", [laxer])])
            self.assertEqual(verdict, "amend")
            self.assertEqual([it["maxSkew"] for it in operation["value"]], [2])

    def test_without_add_it_is_denied_by_name(self):
        verdict, why = policy.review('{"add": false, "maxSkew": 2}', [stateful_set("a"), stateful_set("b")])
        self.assertEqual(verdict, "deny")
        self.assertIn("`a`, `b` have to be spread", why)
        self.assertIn(f"topologyKey {ZONE}, maxSkew 2 or less, whenUnsatisfiable DoNotSchedule", why)

    def test_other_objects_pass(self):
        partial = planned("StatefulSet", "a", {"spec": {"replicas": 3}})
        self.assertEqual(policy.review("", [planned("Service", "s", {"spec": {}}), partial]), ("pass", None))


class Settings(unittest.TestCase):
    def refused(self, text, field, words):
        with self.assertRaises(policy.BadSettings) as caught:
            policy.settings(text)
        [(found, message)] = caught.exception.violations
        self.assertEqual(found, field)
        self.assertIn(words, message)

    def test_bad_ones_are_refused_in_words(self):
        for good in ("", "null", "{}", '{"topologyKey": "kubernetes.io/hostname", "maxSkew": 3, "add": false}'):
            policy.settings(good)
        self.refused("{", "settings", "are no JSON")
        self.refused("[]", "settings", "are to be an object")
        self.refused('{"key": "zone"}', "key", "there are topologyKey, maxSkew, whenUnsatisfiable, add")
        self.refused('{"topologyKey": ""}', "topologyKey", "a label of nodes")
        self.refused('{"maxSkew": 0}', "maxSkew", "from 1 on; it is 0")
        self.refused('{"maxSkew": true}', "maxSkew", "it is true")
        self.refused('{"whenUnsatisfiable": "Maybe"}', "whenUnsatisfiable", 'it is "Maybe"')
        self.refused('{"add": "yes"}', "add", "is to be true")


if __name__ == "__main__":
    unittest.main()
