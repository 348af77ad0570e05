/** One labelled sentence, in the columns that a data file has. */
export interface DemoExample {
  sentence: string;
  label: 0 | 1;
  idx: number;
}

export interface DemoTaskOptions {
  seed: number;
  /** How many examples to make of each kind. */
  train: number;
  validation: number;
}

export interface DemoTask {
  train: DemoExample[];
  validation: DemoExample[];
}

/** 1: the film is well spoken of; 0: it is not. */
type Verdict = 0 | 1;
type Pick = <T>(from: readonly T[]) => T;

// The first row of each table speaks against the film, the second for it. All are words that the encoder has whole, and
// none begins with a vowel, so that "a" suits them.
const ADJECTIVES = [
  ['dull', 'poor', 'weak', 'silly', 'boring', 'terrible', 'dreadful', 'stupid', 'cheap', 'horrible'],
  [
    'charming',
    'funny',
    'clever',
    'brilliant',
    'lovely',
    'moving',
    'wonderful',
    'beautiful',
    'delightful',
    'touching',
  ],
] as const;
const VERBS = [
  ['hated', 'attacked'],
  ['loved', 'praised'],
] as const;
const JUDGED = ['wrong', 'right'] as const;

const PARTS = ['story', 'cast', 'music', 'ending', 'acting', 'script', 'plot', 'dialogue'];
/** What can be a dull one. */
const WHOLES = ['film', 'story', 'ending', 'script', 'plot', 'play'];
const TIMES = [
  'on the whole',
  'in the end',
  'as ever',
  'as always',
  'once more',
  'to my surprise',
  'last night',
  'last week',
  'this time',
];
const OTHERS = ['the critics', 'the papers', 'my parents', 'my friends', 'my brothers'];
const CONCESSIONS = ['although', 'though', 'even though'];

const not = (verdict: Verdict): Verdict => (verdict === 1 ? 0 : 1);

/** "the story was dull", "the story was not moving" */
const opinion = (pick: Pick, verdict: Verdict, part = pick(PARTS)): string => {
  const negated = pick([true, false, false, false]);
  return `the ${part} was ${negated ? 'not ' : ''}${pick(ADJECTIVES[negated ? not(verdict) : verdict])}`;
};

/** "I loved the story", "the critics found the story dull" */
const view = (pick: Pick, who: string, verdict: Verdict): string =>
  pick([true, false])
    ? `${who} ${pick(VERBS[verdict])} the ${pick(PARTS)}`
    : `${who} found the ${pick(PARTS)} ${pick(ADJECTIVES[verdict])}`;

/** What is said for the outcome and what is said against it, of two different parts. */
const opposed = (pick: Pick, verdict: Verdict): [outcome: string, other: string] => {
  const part = pick(PARTS);
  const rest = PARTS.filter((name) => name !== part);
  return [opinion(pick, verdict, part), opinion(pick, not(verdict), pick(rest))];
};

type Frame = (pick: Pick, verdict: Verdict) => string;

/** One clause, and nothing against it. */
const PLAIN: readonly Frame[] = [
  (pick, verdict) => `${opinion(pick, verdict)} ${pick(TIMES)}`,
  (pick, verdict) => `${pick(TIMES)} ${view(pick, 'I', verdict)}`,
  (pick, verdict) => `${pick(TIMES)} I saw a ${pick(ADJECTIVES[verdict])} ${pick(WHOLES)}`,
];

/** One thing for the film and one against it. */
const CONTRASTS: readonly Frame[] = [
  // A concession: the other clause counts.
  (pick, verdict) => {
    const [outcome, other] = opposed(pick, verdict);
    return `${pick(CONCESSIONS)} ${other}, ${outcome}`;
  },
  (pick, verdict) => {
    const [outcome, other] = opposed(pick, verdict);
    return `${outcome}, ${pick(CONCESSIONS)} ${other}`;
  },
  (pick, verdict) => {
    const [outcome, other] = opposed(pick, verdict);
    return `${other}, but ${outcome}`;
  },
  // Two people: the speaker counts.
  (pick, verdict) => `${view(pick, 'I', verdict)}, but ${view(pick, pick(OTHERS), not(verdict))}`,
  (pick, verdict) => `${view(pick, pick(OTHERS), not(verdict))}, but ${view(pick, 'I', verdict)}`,
  // A report: it counts as it is judged.
  (pick, verdict) => {
    const judged = pick<Verdict>([0, 1]);
    const found = judged === 1 ? verdict : not(verdict);
    return `${pick(OTHERS)} were ${JUDGED[judged]} to find the ${pick(PARTS)} ${pick(ADJECTIVES[found])}`;
  },
  // An expectation: what came of it counts.
  (pick, verdict) =>
    `I expected a ${pick(ADJECTIVES[not(verdict)])} ${pick(WHOLES)} and saw a ${pick(ADJECTIVES[verdict])} one`,
  (pick, verdict) =>
    `I saw a ${pick(ADJECTIVES[verdict])} ${pick(WHOLES)} and expected a ${pick(ADJECTIVES[not(verdict)])} one`,
];

/** Numbers in [0, 1), the same for the same seed (xorshift32). */
const randomFrom = (seed: number): (() => number) => {
  let state = Math.imul(seed ^ 0x5bd1e995, 0x9e3779b1) || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
};

/** Made-up sentences about films, no two the same, half of each label; the same for the same options. */
export const generateTask = ({ seed, train, validation }: DemoTaskOptions): DemoTask => {
  const random = randomFrom(seed);
  const pick: Pick = (from) => from[Math.floor(random() * from.length)]!;
  const shuffled = <T>(items: readonly T[]): T[] =>
    items
      .map((item) => ({ item, key: random() }))
      .sort((a, b) => a.key - b.key)
      .map(({ item }) => item);

  const made = new Set<string>();
  const draw = (label: Verdict) => {
    for (let tries = 0; tries < 10_000; tries++) {
      const text = pick(pick([PLAIN, CONTRASTS]))(pick, label);
      const sentence = `${text[0]!.toUpperCase()}${text.slice(1)}.`;
      if (made.has(sentence)) continue;
      made.add(sentence);
      return { sentence, label };
    }
    throw new RangeError(`the grammar has no more than ${made.size} sentences to give`);
  };

  // Short frames run out of new sentences before long ones do, so the parts are cut from one shuffled whole.
  const half = Math.ceil(validation / 2);
  const pairs = shuffled(Array.from({ length: half + Math.ceil(train / 2) }, () => [draw(0), draw(1)]));
  const part = (from: typeof pairs, count: number): DemoExample[] =>
    shuffled(from.flat())
      .slice(0, count)
      .map((example, idx) => ({ ...example, idx }));
  return { train: part(pairs.slice(half), train), validation: part(pairs.slice(0, half), validation) };
};
