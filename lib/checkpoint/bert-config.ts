import { z } from 'zod';
import { LightPeftError } from '../errors.ts';
import {
  activationOf,
  checkNumbers,
  encoder,
  type Heads,
  layers,
  probability,
  size,
  STRANGE,
} from './encoder-config.ts';
import { parseFields } from './parse-fields.ts';
import type { Activation, Head, Spec, Told } from './spec.ts';

/** Defaults are those of transformers; sizes have none, as a file without them is broken. */
const fieldsOf = (padId: number) =>
  z.object({
    vocab_size: size,
    hidden_size: size,
    embedding_size: size.nullish(),
    num_hidden_layers: layers,
    num_attention_heads: size,
    intermediate_size: size,
    max_position_embeddings: size,
    type_vocab_size: size.default(2),
    pad_token_id: z.int().nonnegative().default(padId),
    hidden_act: z.string().default('gelu'),
    layer_norm_eps: z.number().positive().default(1e-12),
    hidden_dropout_prob: probability.default(0.1),
    attention_probs_dropout_prob: probability.default(0.1),
    classifier_dropout: probability.nullish(),
    // ELECTRA's, of what it chooses among texts by.
    summary_activation: z.enum(['gelu', 'relu', 'tanh']).default('gelu'),
    summary_last_dropout: probability.default(0.1),
    ...STRANGE,
  });

interface Dropouts {
  classifier: number;
  hidden: number;
  /** ELECTRA's. */
  summary: { activation: Head['activation']; dropout: number };
}

/** Where families that write their config as BERT does differ. */
interface Kind {
  padId: number;
  /** RoBERTa counts positions from the pad token on and past pad tokens; the others from 0. */
  positions: 'after pads' | 'from zero';
  heads: (dropouts: Dropouts) => Heads;
  /** Of what tells masked tokens, where it is not the layers'. */
  vocabularyActivation?: Activation;
  /** Whether the embeddings may be of another width, and are projected then. */
  projected?: boolean;
}

export const parseAs =
  (
    family: string,
    { padId: usualPad, positions: counted, heads: headsFor, vocabularyActivation, projected = false }: Kind,
  ) =>
  (config: Record<string, unknown>, file: string, told: Told): Spec => {
    const fields = parseFields(fieldsOf(usualPad), config, file);
    const activation = activationOf(fields.hidden_act, fields, file);
    const {
      hidden_size: hidden,
      num_attention_heads: heads,
      pad_token_id: padId,
      vocab_size: vocab,
    } = fields;
    checkNumbers(
      { hidden, heads, padId, vocab },
      { hidden: 'hidden_size', heads: 'num_attention_heads' },
      file,
    );
    const positions = fields.max_position_embeddings;
    const positionOffset = counted === 'after pads' ? padId + 1 : 0;
    if (positions <= positionOffset)
      throw new LightPeftError(
        'BAD_CONFIG',
        `${file}: max_position_embeddings ${positions} leaves no position after pad_token_id ${padId}`,
      );
    return {
      family,
      layers: fields.num_hidden_layers,
      hidden,
      embedding: projected ? (fields.embedding_size ?? hidden) : hidden,
      ...encoder(hidden, heads),
      ffn: fields.intermediate_size,
      activation,
      normEps: fields.layer_norm_eps,
      vocab,
      positions,
      positionOffset,
      padPositions: counted === 'after pads',
      typeVocab: fields.type_vocab_size,
      padId,
      embeddingDropout: fields.hidden_dropout_prob,
      hiddenDropout: fields.hidden_dropout_prob,
      attentionOutputDropout: fields.hidden_dropout_prob,
      attentionDropout: fields.attention_probs_dropout_prob,
      told,
      ...headsFor({
        classifier: fields.classifier_dropout ?? fields.hidden_dropout_prob,
        hidden: fields.hidden_dropout_prob,
        summary: { activation: fields.summary_activation, dropout: fields.summary_last_dropout },
      })[told],
      vocabularyActivation: vocabularyActivation ?? activation,
      maxLength: positions - positionOffset,
    };
  };
