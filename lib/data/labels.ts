import { LightPeftError } from '../errors.ts';

/** Classes, a value, which of some texts it is, tags of words, spans of texts, or tokens: next ones, or masked ones. */
export type LabelSet =
  | { kind: 'classes'; names: string[] }
  | { kind: 'regression' }
  /** `first` is the number of the first of them; undefined: 0. */
  | { kind: 'choices'; count: number; first?: number }
  | { kind: 'tags'; names: string[] }
  /** Whether a text may have none; undefined: the examples tell. */
  | { kind: 'spans'; unanswerable?: boolean }
  | { kind: 'tokens'; masked?: boolean };

/** Whether each token is told something, and not a text as a whole. */
export const isTokenwise = ({ kind }: Pick<LabelSet, 'kind'>): boolean =>
  kind === 'tags' || kind === 'spans' || kind === 'tokens';

/** What tells them: a value is told by what tells classes. */
export const toldAs = ({ kind }: Pick<LabelSet, 'kind'>): Exclude<LabelSet['kind'], 'regression'> =>
  kind === 'regression' ? 'classes' : kind;

/** How many numbers a head gives for a sequence or a token. */
export const outputsFor = (labels: LabelSet): number => {
  if (labels.kind === 'classes' || labels.kind === 'tags') return labels.names.length;
  return labels.kind === 'spans' ? 2 : 1;
};

/** How many it gives for an example that is told as a whole, which has a sequence for each choice. */
export const logitsFor = (labels: LabelSet): number =>
  labels.kind === 'choices' ? labels.count : outputsFor(labels);

/** Of an example as a whole; labels of the other kinds are their tokens'. */
export type WholeLabels = Exclude<LabelSet, { kind: 'tags' | 'spans' | 'tokens' }>;

/** What classes and choices are called. */
const namesOf = (set: Extract<WholeLabels, { kind: 'classes' | 'choices' }>): string[] =>
  set.kind === 'classes'
    ? set.names
    : Array.from({ length: set.count }, (_, i) => String(i + (set.first ?? 0)));

type Label = string | number | null;

const bad = (message: string) => new LightPeftError('BAD_LABEL', message);

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** A finite number, or the number that a TSV cell spells; undefined for a word. */
const numberOf = (label: string | number): number | undefined => {
  const number = typeof label === 'number' || NUMBER.test(label) ? Number(label) : NaN;
  return Number.isFinite(number) ? number : undefined;
};

const shown = (label: Label): string => (typeof label === 'string' ? `"${label}"` : String(label));

const SHOWN = 20;

/** "a, b, c", cut short where there are many. */
export const listed = (names: readonly string[]): string =>
  names.slice(0, SHOWN).join(', ') + (names.length > SHOWN ? `, … (${names.length} in all)` : '');

/**
 * Whether a label says that there is none: null, or, for classes, the -1 of GLUE's hidden test labels. A regression
 * may well have -1 for a target.
 */
export const isUnlabelled = (label: Label, set: WholeLabels): boolean =>
  label === null ||
  (set.kind !== 'regression' && !namesOf(set).includes(String(label)) && numberOf(label) === -1);

const integerClasses = (integers: ReadonlySet<number>, file: string): string[] => {
  const sorted = [...integers].sort((a, b) => a - b);
  // A file with one class only is at least a part of a binary one.
  const count = Math.max(2, sorted.at(-1)! + 1);
  const complete = sorted[0]! >= 0 && (sorted.length === count || count === 2);
  // With a gap, 1 to 5 (stars, say) would train a class that never occurs, and a file that happens to lack one class
  // could not be told from it.
  if (!complete)
    throw bad(
      `${file}: integer labels must run from 0 without a gap; there are ${listed(sorted.map(String))}; give the label names, or --metric pearson where they are values`,
    );
  return Array.from({ length: count }, (_, i) => String(i));
};

/**
 * What the labels of a training file are.
 * - integers (also as text): classes 0..n-1, at least two.
 * - other numbers: regression.
 * - words: classes, sorted by code unit so that the order is the same everywhere.
 * @throws {LightPeftError} BAD_LABEL: no row is labelled, there is one class only, integers have a gap, or numbers
 *   and words are mixed
 */
export const inferLabels = (examples: Iterable<{ label: Label }>, file: string): WholeLabels => {
  const words = new Set<string>();
  const numbers = new Set<number>();
  let unlabelled = 0;
  for (const { label } of examples) {
    if (label === null) unlabelled++;
    if (label === null) continue;
    const number = numberOf(label);
    if (number === undefined) words.add(String(label));
    else numbers.add(number);
  }
  if (words.size > 0 && numbers.size > 0)
    throw bad(
      `${file}: some labels are numbers (${[...numbers][0]}), some are not ("${[...words][0]}"); give the label names`,
    );
  if (words.size === 1)
    throw bad(
      `${file}: every label is "${[...words][0]}"${unlabelled > 0 ? `, but in ${unlabelled} rows that have none` : ''}; two classes or more are needed`,
    );
  if (words.size > 0) return { kind: 'classes', names: [...words].sort() };
  if (![...numbers].every(Number.isInteger)) return { kind: 'regression' };
  numbers.delete(-1);
  if (numbers.size === 0) throw bad(`${file}: no row has a label`);
  return { kind: 'classes', names: integerClasses(numbers, file) };
};

const classOf = (label: string | number, names: readonly string[]): number => {
  const exact = names.indexOf(String(label));
  if (exact >= 0) return exact;
  const number = numberOf(label);
  if (number === undefined) return -1;
  // "1.0", as pandas writes a column of integers that has a hole.
  const spelled = names.indexOf(String(number));
  if (spelled >= 0) return spelled;
  // With names such as 1..5 a label 0 is a mistake, not the first of them.
  const indexable = Number.isInteger(number) && !names.some((name) => numberOf(name) !== undefined);
  return indexable && number >= 0 && number < names.length ? number : -1;
};

/**
 * The class index of a label, or the value of a regression label.
 * @param where the file and row, for the message
 * @param options.unlabelled 'allow' gives NaN for an unlabelled row, as prediction needs
 * @throws {LightPeftError} BAD_LABEL: the label is not in the set, not finite in fp32, or there is none
 */
export const encodeLabel = (
  label: Label,
  set: WholeLabels,
  where: string,
  { unlabelled = 'refuse' }: { unlabelled?: 'allow' | 'refuse' } = {},
): number => {
  if (isUnlabelled(label, set)) {
    if (unlabelled === 'allow') return NaN;
    throw bad(`${where}: the row is not labelled (${shown(label)})`);
  }
  if (set.kind === 'regression') {
    const value = numberOf(label!);
    if (value === undefined) throw bad(`${where}: label ${shown(label)} is not a number`);
    if (!Number.isFinite(Math.fround(value)))
      throw bad(`${where}: label ${shown(label)} is past what a 32-bit number can hold`);
    return value;
  }
  const names = namesOf(set);
  const index = classOf(label!, names);
  if (index < 0) throw bad(`${where}: label ${shown(label)} is none of ${listed(names)}`);
  return index;
};

/** Whether names are their own places: what they name has no name. */
const isPlain = (names: readonly string[]): boolean => names.every((name, i) => name === String(i));

/** Whether a name is at another place among others, where it would be taken for another. */
export function isReordered(a: readonly string[], b: readonly string[]): boolean {
  const moved = a.some((name, i) => b.includes(name) && b[i] !== name);
  // Those of places may be called by numbers that begin with another.
  if (isPlain(a) || isPlain(b)) return moved && a.length === b.length && a.every((name) => b.includes(name));
  return moved;
}
