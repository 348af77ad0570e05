import { LightPeftError } from './errors.ts';

/** Of entities, of all types together, and of single tags. */
export interface TagMetrics {
  precision: number;
  recall: number;
  f1: number;
  accuracy: number;
}

/** "B-PER" marks the beginning of a PER; "O" is of the type "_", as is any tag of one letter. */
const parse = (tag: string) => {
  const dash = tag.indexOf('-', 1);
  const type = dash < 0 ? tag.slice(1) : tag.slice(dash + 1);
  return { mark: tag.charAt(0), type: type === '' ? '_' : type };
};

type Tag = ReturnType<typeof parse>;

const otherType = (previous: Tag, next: Tag, of: Tag): boolean =>
  !'O.'.includes(of.mark) && previous.type !== next.type;

/** Whether an entity ends between two tags. */
const endsAfter = (previous: Tag, next: Tag): boolean =>
  'ES'.includes(previous.mark) ||
  ('BI'.includes(previous.mark) && 'BSO'.includes(next.mark)) ||
  otherType(previous, next, previous);

/** Whether one begins there. */
const beginsBefore = (previous: Tag, next: Tag): boolean =>
  'BS'.includes(next.mark) ||
  ('EI'.includes(next.mark) && 'ESO'.includes(previous.mark)) ||
  otherType(previous, next, next);

/** Type, first and last place of each entity, all sequences one behind the other. */
const entitiesOf = (sequences: readonly (readonly string[])[]): Set<string> => {
  const entities = new Set<string>();
  let previous: Tag = { mark: 'O', type: '' };
  let begin = 0;
  // Nothing reaches over the end of a sequence.
  for (const [place, tag] of [...sequences.flatMap((tags) => [...tags, 'O']), 'O'].entries()) {
    const next = parse(tag);
    if (endsAfter(previous, next)) entities.add(`${previous.type} ${begin} ${place - 1}`);
    if (beginsBefore(previous, next)) begin = place;
    previous = next;
  }
  return entities;
};

const ratio = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole);

/**
 * Of n sequences of told and true tags, as seqeval 1.2.2 counts them unless a scheme is asked for: an I- or E- after an O
 * or another type begins an entity too, and tags without a prefix are marks by their first letter. Precision, recall and
 * f1 of nothing are 0, the accuracy of nothing is NaN.
 * @throws {LightPeftError} INTERNAL: the lengths differ
 */
export function tagMetrics(
  predictions: readonly (readonly string[])[],
  labels: readonly (readonly string[])[],
): TagMetrics {
  const fits =
    predictions.length === labels.length && labels.every((tags, i) => tags.length === predictions[i]!.length);
  if (!fits)
    throw new LightPeftError('INTERNAL', 'the sequences of predicted tags do not fit those of true ones');
  const told = entitiesOf(predictions);
  const meant = entitiesOf(labels);
  const both = [...told].filter((entity) => meant.has(entity)).length;
  const right = labels.flatMap((tags, i) => tags.map((tag, t) => Number(tag === predictions[i]![t])));
  return {
    precision: ratio(both, told.size),
    recall: ratio(both, meant.size),
    f1: ratio(2 * both, told.size + meant.size),
    accuracy: right.reduce((sum, one) => sum + one, 0) / right.length,
  };
}
