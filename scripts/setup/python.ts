import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setupFailed } from './failure.ts';
import { type LibTorch, inspectLibTorch } from './inspect.ts';
import { lastWord, runProgram } from './program.ts';
import { type Release, libtorchVersion } from './release.ts';

/** Finds the package without importing it: importing torch takes seconds. */
const findTorch = `
import importlib.util, json
spec = importlib.util.find_spec('torch')
print(json.dumps(list(spec.submodule_search_locations) if spec and spec.origin else []))
`;

/** The `torch` package of the python3 on the PATH. */
export async function pythonTorch(): Promise<LibTorch> {
  // Away from the current folder, which python -c would search first.
  const found = await runProgram('python3', ['-c', findTorch], { cwd: '/', timeoutSeconds: 20 });
  if (!found.ok) throw setupFailed(`python3 cannot be asked: ${lastWord(found.output)}`);
  const [dir] = JSON.parse(found.stdout) as string[];
  if (dir === undefined) throw setupFailed('python3 has no torch package');
  return inspectLibTorch(dir, "python3's torch package");
}

/** Has pip fetch a wheel for one fixed Python, from wherever this machine's pip looks. Returns the file. */
export async function pipDownload(release: Release, folder: string): Promise<string> {
  const target = [
    '--python-version=3.11',
    '--implementation=cp',
    '--abi=cp311',
    '--platform=manylinux_2_28_x86_64',
  ];
  // Without a network each index would otherwise be tried six times over.
  const patience = ['--retries=0', '--timeout=15'];
  const quiet = ['--quiet', '--no-input', '--no-cache-dir', '--disable-pip-version-check'];
  const what = [
    '--no-deps',
    '--only-binary=:all:',
    '--extra-index-url=https://download.pytorch.org/whl/cpu',
    `--dest=${folder}`,
    `torch==${libtorchVersion}`,
  ];
  const args = ['-m', 'pip', 'download', ...target, ...patience, ...quiet, ...what];
  const outcome = await runProgram('python3', args, { cwd: '/', timeoutSeconds: 30 * 60 });
  if (!outcome.ok) throw setupFailed(`pip download failed: ${lastWord(outcome.output)}`);
  if (!readdirSync(folder).includes(release.file)) throw setupFailed(`pip did not bring ${release.file}`);
  return join(folder, release.file);
}

/** Has pip put packages into a folder of their own. */
export async function pipInstall(packages: readonly string[], folder: string): Promise<void> {
  const options = ['--quiet', '--no-input', '--disable-pip-version-check', '--retries=0', '--timeout=15'];
  const args = ['-m', 'pip', 'install', ...options, '--no-deps', '--only-binary=:all:', `--target=${folder}`];
  const outcome = await runProgram('python3', [...args, ...packages], { cwd: '/', timeoutSeconds: 10 * 60 });
  if (!outcome.ok) throw setupFailed(`pip install failed: ${lastWord(outcome.output)}`);
}
