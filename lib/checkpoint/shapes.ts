import { type Site, sitesOf, type Spec } from './spec.ts';

type Shapes = [string, number[]][];

/** Outputs and inputs of the linear layer at a site. */
export function linearSize(
  { hidden, heads, group, headSize, ffn }: Pick<Spec, 'hidden' | 'heads' | 'group' | 'headSize' | 'ffn'>,
  site: Site,
): [outputs: number, inputs: number] {
  const keys = heads * headSize;
  switch (site) {
    case 'qkv':
      return [(group + 2) * keys, hidden];
    case 'query':
      return [group * keys, hidden];
    case 'key':
    case 'value':
      return [keys, hidden];
    case 'attention.output':
      return [hidden, group * keys];
    case 'gate':
    case 'intermediate':
      return [ffn, hidden];
    case 'output':
      return [hidden, ffn];
  }
}

const linear = (site: string, output: number, input: number, bias = true): Shapes => [
  [`${site}.weight`, [output, input]],
  ...(bias ? ([[`${site}.bias`, [output]]] satisfies Shapes) : []),
];

const norm = (site: string, width: number, { norm: kind }: Pick<Spec, 'norm'>): Shapes => [
  [`${site}.weight`, [width]],
  ...(kind === 'layer' ? ([[`${site}.bias`, [width]]] satisfies Shapes) : []),
];

function layerShapes(spec: Spec, layer: string): Shapes {
  const { hidden, headSize, biases } = spec;
  const shapes = sitesOf(spec).flatMap((site) =>
    linear(`${layer}.${site}`, ...linearSize(spec, site), biases.includes(site)),
  );
  shapes.push(...norm(`${layer}.attention.norm`, hidden, spec));
  if (!spec.sharedNorm) shapes.push(...norm(`${layer}.output.norm`, hidden, spec));
  if (spec.queryKeyNorm)
    for (const part of ['query', 'key']) shapes.push(...norm(`${layer}.${part}.norm`, headSize, spec));
  return shapes;
}

/** Every site of the base, and the shape of what is there. Without `vocabulary`, which not every file has. */
export function baseShapes(spec: Spec): Map<string, number[]> {
  const { layers, hidden, embedding, vocab, positions, typeVocab } = spec;
  const projects = embedding !== hidden;
  const shapes: Shapes = [['embeddings.word', [vocab, embedding]]];
  if (positions > 0) shapes.push(['embeddings.position', [positions, spec.causal ? hidden : embedding]]);
  if (typeVocab > 0) shapes.push(['embeddings.type', [typeVocab, embedding]]);
  if (spec.embeddingNorm) shapes.push(...norm('embeddings.norm', embedding, spec));
  if (projects) shapes.push(...linear('embeddings.project', hidden, embedding, !spec.causal));
  if (projects && spec.causal) shapes.push(...linear('project.back', embedding, hidden, false));
  for (let i = 0; i < layers; i++) shapes.push(...layerShapes(spec, `layers.${i}`));
  if (spec.finalNorm) shapes.push(...norm('final.norm', hidden, spec));
  return new Map(shapes);
}

/** Of what tells tokens, where it is not the embeddings alone. */
export function vocabularyShapes(spec: Spec): Map<string, number[]> {
  const { vocabulary, vocab, embedding, hidden } = spec;
  if (vocabulary === 'masked')
    return new Map([
      ...linear('vocabulary.dense', embedding, hidden),
      ...norm('vocabulary.norm', embedding, spec),
      ['vocabulary.bias', [vocab]],
    ]);
  if (!vocabulary.startsWith('own')) return new Map();
  return new Map(linear('vocabulary', vocab, embedding, vocabulary === 'own with bias'));
}

/** Every site of the head. */
export function headShapes({ hidden, embedding, causal, head }: Spec, labels: number): Map<string, number[]> {
  const width = causal ? embedding : hidden;
  if (head.kind === 'score') return new Map(linear('classifier.out_proj', labels, width, head.bias));
  return new Map([
    ...linear('classifier.dense', width, width),
    ...linear('classifier.out_proj', labels, width),
  ]);
}
