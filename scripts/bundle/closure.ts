import { setupFailed } from '../setup/failure.ts';

/** What package-lock.json says of one folder below node_modules. */
export interface LockedPackage {
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
  os?: string[];
  cpu?: string[];
  libc?: string[];
}

export type LockedPackages = Record<string, LockedPackage>;

/** The only machines that the addon is built for. */
const HOST = { os: 'linux', cpu: 'x64', libc: 'glibc' };

/** The folders of the packages that `names` need, themselves included, as Node would find them. */
export function closure(packages: LockedPackages, names: readonly string[]): string[] {
  const found = new Set<string>();
  const visit = (name: string, from: string, mayLack: boolean): void => {
    const folder = nearest(packages, name, from);
    const locked = folder === undefined ? undefined : packages[folder];
    if (folder === undefined || locked === undefined || !fitsHost(locked)) {
      if (mayLack) return;
      throw setupFailed(
        `package-lock.json has no ${name} for this machine, which ${from || 'the project'} needs`,
      );
    }
    if (found.has(folder)) return;
    found.add(folder);
    const { dependencies = {}, optionalDependencies = {}, peerDependencies = {} } = locked;
    for (const other of Object.keys(dependencies)) visit(other, folder, other in optionalDependencies);
    for (const other of Object.keys({ ...optionalDependencies, ...peerDependencies }))
      visit(other, folder, true);
  };
  for (const name of names) visit(name, '', false);
  return [...found].sort();
}

/** Node looks beside the package's own files first, then beside each folder that it lies in. */
function nearest(packages: LockedPackages, name: string, from: string): string | undefined {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('node_modules/') - 1))) {
    const path = `${folder === '' ? '' : `${folder}/`}node_modules/${name}`;
    if (path in packages) return path;
    if (folder === '') return undefined;
  }
}

const fitsHost = ({ os, cpu, libc }: LockedPackage): boolean =>
  allows(os, HOST.os) && allows(cpu, HOST.cpu) && allows(libc, HOST.libc);

/** A list names what it allows, or with a `!` what it does not. */
function allows(list: readonly string[] | undefined, value: string): boolean {
  if (list === undefined || list.includes(value)) return true;
  return list.every((one) => one.startsWith('!')) && !list.includes(`!${value}`);
}
