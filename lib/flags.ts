import { type Command as Program, Option } from 'commander';
import { LightPeftError } from './errors.ts';
import type { Command, Flag } from './flag.ts';
import { FLAGS } from './flag-table.ts';
import { flagOf, OPTION_NAMES, type Options, settle } from './options.ts';

const defaults = settle({ model: '' });

function optionOf({ name, takes, help, needs, parse, several }: Flag, command: Command): Option {
  const value = defaults[name];
  const isPart = typeof value === 'number' && !Number.isInteger(value);
  const shown = isPart ? Number(value.toPrecision(3)) : String(value ?? '');
  const known = shown === '' || shown === 'false' ? '' : ` (default: ${shown})`;
  const about = needs?.includes(command) ? `${help} (needed)` : help + known;
  const option = new Option(flagOf(name) + (takes ? ` <${takes}>` : ''), about);
  if (several) return option.argParser((text, before: string[] = []) => [...before, text]);
  return parse ? option.argParser((text) => parsed(flagOf(name), parse, text)) : option;
}

/** What a flag takes; its name comes before what is wrong with that. */
export function parsed(flag: string, parse: NonNullable<Flag['parse']>, text: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw error instanceof LightPeftError
      ? new LightPeftError(error.code, `${flag}: ${error.message}`)
      : error;
  }
}

/**
 * The options of a command, each with its help and its default. Those of other commands are taken too, so that one list
 * of flags can serve all phases, but its help does not name them.
 */
export function optionsOf(command: Command): Option[] {
  const own = FLAGS.filter(({ of }) => of.includes(command));
  const others = FLAGS.filter(({ name }, i) => {
    const first = FLAGS.findIndex((flag) => flag.name === name) === i;
    return first && !own.some((flag) => flag.name === name);
  });
  return [
    ...own.map((flag) => optionOf(flag, command)),
    ...others.map((flag) => optionOf(flag, command).hideHelp()),
  ];
}

/** Flags that npm has itself. */
const OF_NPM: readonly string[] = ['--depth', '--json'];

/** In which npm says what it was given of a flag. */
const variableOf = (flag: string) => `npm_config_${flag.slice(2).replaceAll('-', '_')}`;

/**
 * npm keeps flags to itself that do not come after `--`, and passes on what they take alone.
 * @throws {LightPeftError} BAD_OPTION
 */
export function checkPassedOn(command: Program, env: NodeJS.ProcessEnv): void {
  const name = command.name();
  if (env['npm_lifecycle_event'] !== name) return;
  const flags = new Set(
    [command, ...command.commands].flatMap(({ options }) => options.map(({ long }) => long!)),
  );
  const kept = [...flags].filter((flag) => !OF_NPM.includes(flag) && env[variableOf(flag)] !== undefined);
  if (kept.length > 0)
    throw new LightPeftError(
      'BAD_OPTION',
      `npm has kept ${kept.join(', ')} to itself; flags come after --: npm run ${name} -- …`,
    );
}

/** Those of the flags given that mean something to other commands alone. */
export const meaningless = (command: Command, given: Partial<Options>): string[] => {
  const own = new Set(FLAGS.filter(({ of }) => of.includes(command)).map(({ name }) => name));
  return OPTION_NAMES.filter((name) => given[name] !== undefined && !own.has(name)).map(flagOf);
};

/** What a command cannot do without, and where it comes from. */
export function checkNeeded(command: Command, given: Partial<Options>): void {
  const missing = FLAGS.find(({ name, needs }) => needs?.includes(command) && given[name] === undefined);
  if (missing)
    throw new LightPeftError('BAD_OPTION', `${flagOf(missing.name)} is needed here: ${missing.help}`);
}
