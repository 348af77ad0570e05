import type { Session } from '../engine.ts';
import { advance, checkGoesOn, type GenerationOptions } from './tokens.ts';

export interface BeamOptions extends GenerationOptions {
  /** Texts that are followed for each prompt. */
  beams: number;
  /** A finished text's score is the sum of its tokens' log probabilities over its length to this power. */
  lengthPenalty: number;
}

interface Beam {
  tokens: number[];
  /** Sum of log probabilities. */
  score: number;
}

/** Texts of one prompt: those that go on, and the best of those that ended. */
interface Search {
  alive: Beam[];
  ended: { tokens: number[]; score: number }[];
  done: boolean;
}

/** Log probabilities of a token's logits. */
function logSoftmax(logits: Float32Array): Float32Array {
  let top = -Infinity;
  for (const value of logits) top = Math.max(top, value);
  let total = 0;
  for (const value of logits) total += Math.exp(value - top);
  const shift = top + Math.log(total);
  return logits.map((value) => value - shift);
}

/** The best continuations of a prompt's beams, so many of them, best first. */
function candidates(alive: readonly Beam[], logits: readonly Float32Array[], count: number) {
  const best: { beam: number; token: number; score: number }[] = [];
  for (const [beam, { score }] of alive.entries()) {
    const log = logSoftmax(logits[beam]!);
    for (let token = 0; token < log.length; token++) {
      const sum = score + log[token]!;
      if (best.length === count && sum <= best.at(-1)!.score) continue;
      const at = best.findIndex((other) => sum > other.score);
      best.splice(at < 0 ? best.length : at, 0, { beam, token, score: sum });
      if (best.length > count) best.pop();
    }
  }
  return best;
}

/**
 * Beam search over prompts of any lengths at once, as transformers does it: a prompt is done when it has as many ended
 * texts as beams and none that goes on can be better.
 * @returns of each prompt the new tokens of the best text
 */
export async function beamSearch(
  session: Session,
  prompts: readonly (readonly number[])[],
  { beams, lengthPenalty, maxNewTokens, ends, vocab, signal }: BeamOptions,
): Promise<number[][]> {
  const searches = prompts.map((): Search => ({ alive: [{ tokens: [], score: 0 }], ended: [], done: false }));
  const worth = (score: number, length: number) => score / length ** lengthPenalty;
  const take = ({ ended }: Search, tokens: number[], score: number) => {
    ended.push({ tokens, score });
    ended.sort((a, b) => b.score - a.score);
    if (ended.length > beams) ended.pop();
  };
  await session.begin(prompts.length);
  let logits = await advance(session, prompts, vocab);
  for (let length = 1; length <= maxNewTokens && searches.some(({ done }) => !done); length++) {
    checkGoesOn(signal);
    // Where each beam that goes on comes from among the session's sequences, and the token that it gains.
    const from: number[] = [];
    const next: number[][] = [];
    let first = 0;
    for (const search of searches) {
      if (search.done) continue;
      const rows = logits.slice(first, first + search.alive.length);
      const found = candidates(search.alive, rows, (1 + ends.size) * beams);
      const alive: Beam[] = [];
      const origins: number[] = [];
      for (const [rank, { beam, token, score }] of found.entries()) {
        const { tokens } = search.alive[beam]!;
        // An end that is not among the best is none.
        if (ends.has(token)) {
          if (rank < beams) take(search, tokens, worth(score, length));
        } else if (alive.length < beams) {
          alive.push({ tokens: [...tokens, token], score });
          origins.push(first + beam);
        }
      }
      first += search.alive.length;
      search.alive = alive;
      const worst = search.ended[beams - 1]?.score ?? -Infinity;
      search.done = alive.length === 0 || worth(alive[0]!.score, length) <= worst;
      if (search.done) continue;
      from.push(...origins);
      next.push(...alive.map(({ tokens }) => [tokens.at(-1)!]));
    }
    if (length === maxNewTokens || next.length === 0) break;
    await session.choose(from);
    logits = await advance(session, next, vocab);
  }
  for (const search of searches)
    if (!search.done)
      for (const { tokens, score } of search.alive) take(search, tokens, worth(score, tokens.length));
  return searches.map(({ ended }) => ended[0]?.tokens ?? []);
}
