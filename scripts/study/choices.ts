import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { writeWhole } from '../../lib/whole-file.ts';
import { linesOf } from './lines.ts';

/** Of the files that `writeChoices` makes. */
export const CHOICE_FLAGS = ['--text-columns', 'question', '--choice-columns', 'a,b,c,d'];

const QUESTION =
  /^Please choose the correct answer to the question: (.*?)\n\nAnswer1: (.*)\n\nAnswer format: /s;

/** A question of LLM-Adapters' instructions with its four answers apart; undefined where there are more or fewer. */
function choicesOf({ instruction, answer }: { instruction: string; answer: string }) {
  const [, question, answers] = QUESTION.exec(instruction) ?? [];
  const [a, b, c, d, ...more] = answers?.split(/ Answer[2-5]: /) ?? [];
  if (d === undefined || more.length > 0) return undefined;
  return { question, a, b, c, d, label: Number(answer.slice('answer'.length)) - 1 };
}

/** A file of instructions as one that an encoder can choose from; questions without four answers are left out. */
export async function writeChoices(from: string, to: string): Promise<void> {
  const choices = linesOf(from)
    .map((row) => choicesOf(JSON.parse(row) as { instruction: string; answer: string }))
    .filter((row) => row !== undefined);
  await mkdir(dirname(to), { recursive: true });
  await writeWhole(to, [choices.map((row) => `${JSON.stringify(row)}\n`).join('')]);
}
