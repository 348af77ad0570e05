import { bert, camembert, distilbert, electra, roberta, xlmRoberta } from './bert.ts';
import { bloom, gpt2, gptJ, gptNeo, gptNeoX, llama, mistral, opt, qwen2, qwen3 } from './decoders.ts';
import type { Spec, Told } from './spec.ts';

/**
 * What a tensor's name in a file means: a weight of the base, one of its classification head, one that the engine
 * has no use for, or one that it should have a use for and does not know.
 */
export type Place = { part: 'base' | 'head'; site: string } | { part: 'ignored' } | { part: 'unknown' };

/** How one model_type writes its config and names its weights. */
export interface Family {
  /**
   * With the head that tells `told`.
   * @throws {LightPeftError} BAD_CONFIG or UNSUPPORTED_MODEL, naming `file`
   */
  parse(config: Record<string, unknown>, file: string, told: Told): Spec;
  /** Of transformers' class that tells that: RobertaForSequenceClassification, say. */
  architecture(told: Told | 'tokens'): string;
  /** What it has heads for. */
  tells: readonly Told[];
  /** The same family with the names of another head than that for classes. */
  telling(told: Told): Family;
  /** What a tensor of a checkpoint is, by its name. */
  placeOf(name: string): Place;
  /** The name that transformers writes today for a site's tensor: layers.0.query.weight, say. */
  tensorOf(site: string): string | undefined;
  /** The module that Python's PEFT would name for layers.0.query, say. */
  moduleOf(site: string): string | undefined;
  /** The other way; a bare encoder's modules have no prefix. */
  siteOfModule(module: string): string | undefined;
  /** Ends of the names of all modules that LoRA can sit at. */
  targets: readonly string[];
  /** Whether files have the weight of a site as [inputs, outputs]. */
  isTransposed(site: string): boolean;
}

/** By model_type. */
export const FAMILIES: ReadonlyMap<string, Family> = new Map([
  ['roberta', roberta],
  ['xlm-roberta', xlmRoberta],
  ['camembert', camembert],
  ['bert', bert],
  ['electra', electra],
  ['distilbert', distilbert],
  ['opt', opt],
  ['llama', llama],
  ['mistral', mistral],
  ['qwen2', qwen2],
  ['qwen3', qwen3],
  ['gpt2', gpt2],
  ['gpt_neox', gptNeoX],
  ['gpt_neo', gptNeo],
  ['gptj', gptJ],
  ['bloom', bloom],
]);
