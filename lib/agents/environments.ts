// What a rollout acts upon: one environment for each, reset with its row. As in TRL 1.16 environments are made once and reset often, a
// row may say which one it is for, and an environment that knows the reward is a reward function of its own.

import { badOption, show } from "../checks.js";
import { GrpoError } from "../errors.js";
import { isJsonObject } from "../json.js";
import type { AnyRewardFn, Message, RewardValue } from "../types.js";
import { type ReadyTool, readyTools, type Tools } from "./tool.js";

/** A turn of the model, once its calls were answered. */
export interface EnvironmentTurn {
  /** From 0. */
  readonly index: number;
  /** What the model said. */
  readonly message: Message;
  /** What its calls were answered, in their order; empty where it called nothing. */
  readonly results: readonly Message[];
}

/** A world of one rollout: state, and the tools that act upon it. */
export interface Environment<Row = unknown> {
  /**
   * Begins anew, with a row. Text that it returns, or promises, is what the model sees first: it is appended to the last message of the
   * prompt; null and undefined add nothing. What it throws ends the run.
   */
  reset(row: Row): unknown;
  /** Tools that only this rollout has, beside the trainer's. Default: none. */
  readonly tools?: Tools;
  /** The reward of what has happened, asked for once after the rollout; null: it abstains. Default: the reward functions say. */
  reward?(): RewardValue | Promise<RewardValue>;
  /**
   * The reward of one turn, beside that of the whole rollout, asked for when its calls were answered; null: it has none of its own. The turn's
   * tokens are then weighed by it too (turnAdvantageCoef). What it throws ends the run. Default: turns have no rewards of their own.
   */
  turnReward?(turn: EnvironmentTurn): RewardValue | Promise<RewardValue>;
}

/** Makes an environment. What takes long, such as starting a process, belongs into its `reset`. */
export type EnvironmentFactory<Row = unknown> = () => Environment<Row>;

/** One factory for all rows, or several by the name that a row has in its column "environment". */
export type EnvironmentFactories<Row = unknown> =
  | EnvironmentFactory<Row>
  | Readonly<Record<string, EnvironmentFactory<Row>>>;

/** An environment with its tools, and those of the trainer. */
export interface ReadyEnvironment {
  readonly environment: Environment;
  readonly tools: readonly ReadyTool[];
}

interface Kind {
  readonly make: () => Environment;
  /** The first was made to be asked for its tools. */
  readonly pool: ReadyEnvironment[];
  readonly tools: readonly ReadyTool[];
}

const WHERE = "environmentFactory";

export class Environments {
  /** The reward functions of environments that know the reward, one for each class. */
  readonly rewards: readonly AnyRewardFn[];
  readonly #shared: readonly ReadyTool[];
  readonly #kinds = new Map<string | undefined, Kind>();

  /** `tools` are those that every rollout has. Throws BAD_OPTION for a factory that makes no environment. */
  constructor(factories: EnvironmentFactories<never>, tools: readonly ReadyTool[]) {
    this.#shared = tools;
    const named = typeof factories === "function" ? [[undefined, factories] as const] : Object.entries(factories);
    const rewards = new Map<unknown, AnyRewardFn>();
    for (const [name, factory] of named) {
      const make = factory as () => Environment;
      const first = this.#make(make, name === undefined ? WHERE : `${WHERE}.${name}`);
      this.#kinds.set(name, { make, pool: [first], tools: first.tools });
      const type = typeOf(first.environment);
      if (first.environment.reward !== undefined && !rewards.has(type)) {
        rewards.set(type, environmentReward(first.environment));
      }
    }
    this.rewards = [...rewards.values()];
  }

  /** The tools of every kind. */
  get tools(): readonly ReadyTool[] {
    const all = [...this.#kinds.values()].flatMap(({ tools }) => tools);
    return [...new Map(all.map((tool) => [tool.name, tool])).values()];
  }

  /** What the model is told of a row's tools. Throws BAD_DATASET for a row of no environment. */
  toolsOf(row: unknown): readonly ReadyTool[] {
    return this.#kindOf(row).tools;
  }

  /** One for each row, none twice: of those that are there, and new ones where they are not enough. They are to be reset. */
  take(rows: readonly unknown[]): ReadyEnvironment[] {
    const taken = new Map<Kind, number>();
    return rows.map((row) => {
      const kind = this.#kindOf(row);
      const index = taken.get(kind) ?? 0;
      taken.set(kind, index + 1);
      const instance = kind.pool[index] ?? this.#make(kind.make, WHERE);
      kind.pool[index] = instance;
      return instance;
    });
  }

  /** Not to be used again: something may still be at work in it. */
  discard(instance: ReadyEnvironment): void {
    for (const { pool } of this.#kinds.values()) {
      const index = pool.indexOf(instance);
      if (index >= 0) pool.splice(index, 1);
    }
  }

  /** What an environment is reset with: the row, without the name where names choose. */
  rowFor(row: unknown): unknown {
    if (this.#kinds.has(undefined) || !isJsonObject(row)) return row;
    const { environment: _, ...columns } = row;
    return columns;
  }

  #kindOf(row: unknown): Kind {
    const name = this.#kinds.has(undefined) ? undefined : isJsonObject(row) ? row.environment : null;
    const kind = this.#kinds.get(name as string | undefined);
    if (kind !== undefined) return kind;
    throw new GrpoError(
      "BAD_DATASET",
      `a row has the environment ${show(name)}, which environmentFactory does not have`,
      {
        hint: `give every row a column "environment" with one of ${[...this.#kinds.keys()].join(", ")}`,
      },
    );
  }

  #make(make: () => Environment, where: string): ReadyEnvironment {
    const environment: unknown = make();
    const isEnvironment = typeof environment === "object" && environment !== null && "reset" in environment;
    if (!isEnvironment || typeof environment.reset !== "function") {
      throw badOption("GRPOTrainer", where, "a function that makes an object with a method reset", environment);
    }
    const made = environment as Environment;
    const own = made.tools === undefined ? [] : readyTools(`tools of ${where}`, made.tools);
    const names = new Set(own.map(({ name }) => name));
    const twice = this.#shared.find(({ name }) => names.has(name));
    if (twice === undefined) return { environment: made, tools: [...this.#shared, ...own] };
    throw new GrpoError("BAD_OPTION", `${where}: its tool "${twice.name}" has the name of one of the trainer's tools`, {
      hint: "rename one of them",
    });
  }
}

/** What two environments of a class have in common; of plain objects, nothing but that they are such. */
function typeOf(environment: object): unknown {
  return Object.getPrototypeOf(environment);
}

/** Named after the class, as in TRL; abstains for rollouts in environments of another. */
function environmentReward(first: Environment): AnyRewardFn {
  const type = typeOf(first);
  const score = async ({ environments }: { readonly environments: readonly Environment[] }): Promise<RewardValue[]> =>
    Promise.all(
      environments.map(async (environment) => {
        return typeOf(environment) === type && environment.reward !== undefined ? environment.reward() : null;
      }),
    );
  const { name } = first.constructor;
  const own = name === "" || name === "Object" ? "environment" : name;
  return Object.defineProperty(score, "name", { value: own }) as unknown as AnyRewardFn;
}
