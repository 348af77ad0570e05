import { expect } from 'chai';
import { isLoaded, packageFiles, projectFiles } from '../../scripts/bundle/contents.ts';
import { sharedParts } from '../../scripts/bundle/node.ts';
import { projectRoot } from '../../scripts/setup/paths.ts';
import { Scratch } from '../setup/scratch.ts';
import { rejection } from '../setup/rejection.ts';

describe('what a bundle holds', () => {
  let scratch: Scratch;
  beforeEach(() => (scratch = new Scratch()));
  afterEach(() => scratch.dispose());

  it('of a package is what runs, and its licence', () => {
    const wanted = [
      'index.js',
      'lib/a.cjs',
      'lib/a.mjs',
      'package.json',
      'include/a.h',
      'bin/tool',
      'LICENSE.md',
    ];
    const wantedBinaries = ['tokenizers.linux-x64-gnu.node', 'build/addon.node'];
    for (const path of [...wanted, ...wantedBinaries]) expect(isLoaded(path), path).to.be.true;
    const declared = ['index.d.ts', 'index.d.cts', 'src/index.ts', 'index.js.map', 'README.md'];
    const others = ['.github/a.js', 'test/a.js', 'node_modules/a/index.js'];
    const binaries = [
      'tokenizers.linux-x64-musl.node',
      'tokenizers.linux-arm64-gnu.node',
      'a-darwin-x64.node',
    ];
    for (const path of [...declared, ...others, ...binaries]) expect(isLoaded(path), path).to.be.false;
  });

  it("of this project's packages is what commands and tests load, and no tool to develop with", () => {
    const files = packageFiles(projectRoot);
    expect(files).to.include.members([
      'node_modules/@esbuild/linux-x64/bin/esbuild',
      'node_modules/chai/index.js',
      'node_modules/cmake-js/bin/cmake-js',
      'node_modules/mocha/bin/mocha.js',
      'node_modules/node-addon-api/napi.h',
      'node_modules/node-api-headers/include/node_api.h',
      'node_modules/tokenizers/tokenizers.linux-x64-gnu.node',
      'node_modules/tsx/package.json',
    ]);
    expect(new Set(files).size).to.equal(files.length);
    expect(files.filter((path) => /^node_modules\/(typescript|eslint|prettier|@types|nan)\//.test(path))).to
      .be.empty;
    expect(files.filter((path) => path.endsWith('.node'))).to.have.length(1);
  });

  it('of the project is all but the model of the demo and what was left lying about', async () => {
    const folders = ['binding', 'native', 'lib', 'scripts', 'test', 'docs'];
    const tops = ['CMakeLists.txt', 'README.md', 'package.json', 'package-lock.json', '.mocharc.json'];
    const fixed = [
      ...folders.map((name) => `${name}/deep/a.ts`),
      ...tops,
      'dist/lib/index.js',
      'dist/.stamp',
      'demo/task.ts',
      'tsconfig.json',
      'tsconfig.build.json',
    ];
    const model = 'demo/encoder/model.safetensors';
    const others = [
      'dist/lib/index.d.ts',
      'lib/a.tmp',
      'test/__pycache__/a.pyc',
      'runs/a',
      'build/a',
      '.git/a',
    ];
    for (const name of [...fixed, ...others, model]) scratch.write(name);
    expect(projectFiles(scratch.dir, false).sort()).to.deep.equal([...fixed].sort());
    expect(projectFiles(scratch.dir, true).sort()).to.deep.equal([...fixed, model].sort());
    const error = await rejection(() => projectFiles(scratch.path('lib'), false));
    expect(error).to.include({ code: 'SETUP_FAILED', message: 'binding is not there' });
  });

  it('is a Node that needs no libraries but those of the system', () => {
    expect(sharedParts({ node_shared: false, node_shared_openssl: 'false', node_no_browser_globals: true }))
      .to.be.empty;
    expect(sharedParts({ node_shared: 'true', node_shared_openssl: true })).to.deep.equal([
      'node',
      'openssl',
    ]);
  });
});
