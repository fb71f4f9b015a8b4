// Which trainer a model belongs to: one at a time, and one after the other. The optimizer's state lies with the model, and a trainer
// begins with a fresh one, so what an earlier trainer would go on with is gone.

import { GrpoError } from "../errors.js";

interface Claim {
  readonly owner: object;
  readonly training: boolean;
}

/** The last claim on each model. */
const CLAIMS = new WeakMap<object, Claim>();

/** Claims a model for a run of `owner`; the result ends the claim. Throws BAD_INPUT where it is not, or no longer, the owner's. */
export function claimModel(model: object, owner: object, { again }: { readonly again: boolean }): () => void {
  const claim = CLAIMS.get(model);
  if (claim?.training) {
    throw new GrpoError("BAD_INPUT", "another trainer is training this model", {
      hint: "wait for its train() to end, or load the model a second time",
    });
  }
  if (again && claim?.owner !== owner) {
    throw new GrpoError("BAD_INPUT", "another trainer has trained this model since this one did", {
      hint: "make a new trainer to continue with the model as it is",
    });
  }
  CLAIMS.set(model, { owner, training: true });
  return () => void CLAIMS.set(model, { owner, training: false });
}
