// The exports of the world `policy-plugin` (wit/): the policy in the contract's words.

import { MANIFEST, review, violations } from "./policy.js";

export const plugin = {
  describe: () => JSON.stringify(MANIFEST),
  validateSettings: violations,
};

export const policy = {
  review(observed, planned) {
    try {
      const { deny, amend } = review(observed, planned);
      if (deny !== undefined) return { tag: "deny", val: deny };
      if (amend !== undefined) return { tag: "amend", val: JSON.stringify(amend) };
      return { tag: "pass" };
    } catch (problem) {
      // What cannot be judged does not pass.
      const why = problem instanceof Error ? problem.message : JSON.stringify(problem);
      return { tag: "deny", val: `the plan could not be judged: ${why}` };
    }
  },
};
