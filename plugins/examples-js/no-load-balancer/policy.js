// The decision: no Service of a plan is of type LoadBalancer. Plain data in, plain data out; what the contract wants is in plugin.js.

/** What the policy is, sees and may change. */
export const MANIFEST = {
  name: "no-load-balancer",
  version: "0.1.0",
  description: "Lets no Service of type LoadBalancer pass, or turns it into another type",
  policy: {
    reviews: ["*"],
    writes: [{ apiVersion: "v1", kind: "Service" }],
  },
};

const TYPES = ["ClusterIP", "NodePort"];

/** Fields that the API server accepts on no other type of Service. */
const ONLY_LOAD_BALANCERS = [
  "allocateLoadBalancerNodePorts",
  "loadBalancerClass",
  "loadBalancerIP",
  "loadBalancerSourceRanges",
];

/** Settings with defaults, from JSON text. Throws what is wrong with them, as violations. */
function read(text) {
  let settings;
  try {
    settings = JSON.parse(text.trim() || "{}") ?? {};
  } catch (error) {
    throw [{ field: "settings", message: `are no JSON: ${error.message}` }];
  }
  if (typeof settings !== "object" || Array.isArray(settings)) {
    throw [{ field: "settings", message: "are to be an object, such as {\"amend\": true}" }];
  }
  const { amend = false, type = "ClusterIP", except = [], ...unknown } = settings;
  const violations = Object.keys(unknown).map((field) => ({
    field,
    message: "is not known: there are amend, type and except",
  }));
  if (typeof amend !== "boolean") {
    violations.push({ field: "amend", message: "is to be true or false" });
  }
  if (!TYPES.includes(type)) {
    violations.push({ field: "type", message: `is to be one of ${TYPES.join(", ")}; it is ${JSON.stringify(type)}` });
  }
  if (settings.type !== undefined && amend === false) {
    violations.push({ field: "type", message: "is what a Service is turned into: it needs amend = true" });
  }
  if (!Array.isArray(except) || except.some((name) => typeof name !== "string" || name === "")) {
    violations.push({ field: "except", message: "is to be a list of names of Services" });
  }
  if (violations.length > 0) {
    throw violations;
  }
  return { amend, type, except };
}

/** Rules that the settings break. */
export function violations(settings) {
  try {
    read(settings);
    return [];
  } catch (broken) {
    return broken;
  }
}

/** As the document of an amendment is sorted: by kind, then by name, in the order of bytes. */
function sorted(objects) {
  const less = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  return [...objects].sort((a, b) => less(a.id.kind, b.id.kind) || less(a.id.name, b.id.name));
}

/** The verdict: `{pass: true}`, `{deny: "why"}` or `{amend: [operations]}`. */
export function review(observed, plan) {
  const { amend, type, except } = read(observed.settings);
  const found = [];
  for (const part of ["desired", "amended"]) {
    sorted(plan[part]).forEach(({ id, body }, index) => {
      if (id.kind !== "Service" || except.includes(id.name)) return;
      const { spec } = JSON.parse(body);
      if (spec?.type === "LoadBalancer") found.push({ pointer: `/${part}/${index}/spec`, name: id.name, spec });
    });
  }
  if (found.length === 0) {
    return { pass: true };
  }
  if (!amend) {
    const names = found.map(({ name }) => `\`${name}\``).join(", ");
    return {
      deny: `Services of type LoadBalancer are not allowed here: ${names}; ask for ClusterIP or NodePort`,
    };
  }
  return {
    amend: found.flatMap(({ pointer, spec }) => [
      { op: "replace", path: `${pointer}/type`, value: type },
      ...ONLY_LOAD_BALANCERS.filter((field) => field in spec).map((field) => ({
        op: "remove",
        path: `${pointer}/${field}`,
      })),
    ]),
  };
}
