import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { commitOf, printed } from '../printed.ts';
import { recordedAddon } from '../setup/current.ts';

/** What a GPU's figures were measured with; what could not be found out is absent. */
export interface Surroundings {
  gpu: string;
  memory?: string | undefined;
  driver?: string | undefined;
  /** Of LibTorch. */
  cuda?: string | undefined;
  libtorch?: string | undefined;
  /** Of this project; `-dirty`: with changes. */
  commit?: string | undefined;
}

/** The CUDA that LibTorch was built for: what Python's torch says of itself beside it, or its version's ending. */
export function cudaOf(version: string, folder: string): string | undefined {
  const file = join(folder, 'version.py');
  const said = existsSync(file)
    ? /^cuda\b.*=\s*'([\d.]+)'/m.exec(readFileSync(file, 'utf8'))?.[1]
    : undefined;
  const [, major, minor] = /\+cu(\d+)(\d)$/.exec(version) ?? [];
  return said ?? (major && `${major}.${minor}`);
}

/** @param device cuda:N, of the GPUs that this process may use */
export async function surroundingsOf(root: string, device: string): Promise<Surroundings> {
  const index = device.slice('cuda:'.length);
  const id = process.env['CUDA_VISIBLE_DEVICES']?.split(',')[Number(index)] || index;
  const query = ['--query-gpu=name,memory.total,driver_version', '--format=csv,noheader', `--id=${id}`];
  const [gpu, memory, driver] = (await printed('nvidia-smi', query, root))?.split(', ') ?? [];
  const { libtorch } = recordedAddon(root) ?? {};
  return {
    ...{ gpu: gpu ?? 'a GPU without a name', memory, driver },
    cuda: libtorch && cudaOf(libtorch.version, libtorch.dir),
    libtorch: libtorch?.version,
    commit: await commitOf(root),
  };
}

/** Where what was found on a GPU is kept: in the folder that OUT names, or among the project's results. */
export function resultFile(root: string, name: string, date: string, gpu: string): string {
  const out = process.env['OUT'];
  const slug = gpu.toLowerCase().replace(/[^a-z0-9]+/g, '-');
  return out
    ? join(out, `${name}.json`)
    : join(root, 'bench/results', `${name}-${date.slice(0, 10)}-${slug}.json`);
}
