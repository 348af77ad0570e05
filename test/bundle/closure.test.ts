import { expect } from 'chai';
import { closure, type LockedPackages } from '../../scripts/bundle/closure.ts';
import { rejection } from '../setup/rejection.ts';

const on = (...names: string[]): { dependencies: Record<string, string> } => ({
  dependencies: Object.fromEntries(names.map((name) => [name, '*'])),
});

describe('the closure of packages', () => {
  it('holds what is needed from afar, once, and nothing else', () => {
    const packages: LockedPackages = {
      'node_modules/a': on('b', '@scope/c'),
      'node_modules/b': on('@scope/c'),
      'node_modules/@scope/c': on('a'),
      'node_modules/other': on('b'),
    };
    expect(closure(packages, ['a'])).to.deep.equal([
      'node_modules/@scope/c',
      'node_modules/a',
      'node_modules/b',
    ]);
  });

  it('takes the version that lies nearest to whoever needs it', () => {
    const packages: LockedPackages = {
      'node_modules/a': on('b', 'c'),
      'node_modules/a/node_modules/b': on('c', 'd'),
      'node_modules/a/node_modules/@scope/e': {},
      'node_modules/b': on('@scope/e'),
      'node_modules/c': {},
      'node_modules/d': on('@scope/e'),
      'node_modules/@scope/e': {},
    };
    expect(closure(packages, ['a'])).to.deep.equal([
      'node_modules/@scope/e',
      'node_modules/a',
      'node_modules/a/node_modules/b',
      'node_modules/c',
      'node_modules/d',
    ]);
  });

  it('leaves out what is for other machines, and what may be missing', () => {
    const packages: LockedPackages = {
      'node_modules/a': {
        ...on('x'),
        optionalDependencies: { '@a/linux': '*', '@a/musl': '*', '@a/mac': '*', '@a/no-linux': '*', x: '*' },
        peerDependencies: { peer: '*', absent: '*' },
      },
      'node_modules/@a/linux': { os: ['linux'], cpu: ['x64'], libc: ['glibc'] },
      'node_modules/@a/musl': { os: ['linux'], cpu: ['x64'], libc: ['musl'] },
      'node_modules/@a/mac': { os: ['darwin'], cpu: ['x64'] },
      'node_modules/@a/no-linux': { os: ['!linux'] },
      'node_modules/peer': { os: ['!win32'] },
    };
    expect(closure(packages, ['a'])).to.deep.equal([
      'node_modules/@a/linux',
      'node_modules/a',
      'node_modules/peer',
    ]);
  });

  it('is refused where a package is missing, with who needs it', async () => {
    const error = await rejection(() => closure({ 'node_modules/a': on('b') }, ['a']));
    expect(error).to.include({
      code: 'SETUP_FAILED',
      message: 'package-lock.json has no b for this machine, which node_modules/a needs',
    });
  });
});
