import assert from "node:assert/strict";
import { test } from "node:test";

import { policy } from "./plugin.js";
import { MANIFEST, review, violations } from "./policy.js";

const object = (kind, name, body) => ({ id: { apiVersion: "v1", kind, namespace: "ns", name }, body: JSON.stringify(body) });
const service = (name, spec) => object("Service", name, { spec });
const plan = (desired, amended = []) => ({ desired, amended });
const seen = (settings) => ({ settings: JSON.stringify(settings) });

test("a plan without load balancers passes", () => {
  const others = [service("a", { type: "ClusterIP" }), service("b", {}), object("Service", "c", {})];
  const secret = object("Secret", "d", { spec: { type: "LoadBalancer" } });
  assert.deepEqual(review(seen({}), plan([...others, secret])), { pass: true });
});

test("a load balancer is denied by name, also on somebody else's Service", () => {
  const planned = plan(
    [service("b", { type: "LoadBalancer" }), service("a", { type: "NodePort" })],
    [service("foreign", { type: "LoadBalancer" })],
  );
  assert.deepEqual(review(seen({}), planned), {
    deny: "Services of type LoadBalancer are not allowed here: `b`, `foreign`; ask for ClusterIP or NodePort",
  });
});

test("the exceptions pass", () => {
  const planned = plan([service("edge", { type: "LoadBalancer" })]);
  assert.deepEqual(review(seen({ except: ["edge"] }), planned), { pass: true });
});

test("with amend it becomes another type and loses what only a load balancer may have", () => {
  const spec = { type: "LoadBalancer", ports: [], loadBalancerIP: "10.0.0.1", loadBalancerSourceRanges: [] };
  // The document is sorted by kind and name: the ConfigMap is 0, `a` is 1, `b` is 2.
  const planned = plan([service("b", spec), object("ConfigMap", "z", {}), service("a", { type: "ClusterIP" })]);
  assert.deepEqual(review(seen({ amend: true, type: "NodePort" }), planned), {
    amend: [
      { op: "replace", path: "/desired/2/spec/type", value: "NodePort" },
      { op: "remove", path: "/desired/2/spec/loadBalancerIP" },
      { op: "remove", path: "/desired/2/spec/loadBalancerSourceRanges" },
    ],
  });
});

test("bad settings are refused in words", () => {
  for (const good of ["", "null", "{}", '{"amend":true,"type":"NodePort","except":["a"]}']) {
    assert.deepEqual(violations(good), [], good);
  }
  const refused = (settings, field, words) => {
    const [first, ...more] = violations(settings);
    assert.equal(first.field, field);
    assert.ok(first.message.includes(words), first.message);
    assert.deepEqual(more, []);
  };
  refused("{", "settings", "are no JSON");
  refused("[]", "settings", "are to be an object");
  refused('{"ammend":true}', "ammend", "there are amend, type and except");
  refused('{"amend":"yes"}', "amend", "is to be true or false");
  refused('{"amend":true,"type":"LoadBalancer"}', "type", 'it is "LoadBalancer"');
  refused('{"type":"NodePort"}', "type", "it needs amend = true");
  refused('{"except":"a"}', "except", "a list of names");
});

test("what cannot be judged does not pass", () => {
  const broken = plan([{ id: { kind: "Service", name: "a" }, body: "{" }]);
  assert.equal(policy.review(seen({}), broken).tag, "deny");
  assert.equal(policy.review({ settings: "[]" }, plan([])).tag, "deny");
});

test("the manifest grants what an amendment needs", () => {
  assert.deepEqual(MANIFEST.policy.writes, [{ apiVersion: "v1", kind: "Service" }]);
});
