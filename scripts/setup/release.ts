/** The LibTorch that set-up fetches when the machine has none of its own. */
export const libtorchVersion = '2.13.0+cpu';

/** A published file. The checksums are those of the files that download.pytorch.org serves. */
export interface Release {
  file: string;
  /** Below the download server's root. */
  path: string;
  sha256: string;
  megabytes: number;
  /** The folder inside the zip that holds include/ and lib/. */
  root: string;
}

/** Always the wheel of one Python, whichever Python fetches it: it is a zip to us, and has one checksum. */
export const wheel: Release = {
  file: `torch-${libtorchVersion}-cp311-cp311-manylinux_2_28_x86_64.whl`,
  path: 'whl/cpu',
  sha256: '6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b',
  megabytes: 183,
  root: 'torch/',
};

export const archive: Release = {
  file: `libtorch-shared-with-deps-${libtorchVersion}.zip`,
  path: 'libtorch/cpu',
  sha256: 'edbf4cbed78433d803e90a65f1752e57783d164bce66c95c0872b2ab8f5c159e',
  megabytes: 121,
  root: 'libtorch/',
};

/** LIGHT_PEFT_DOWNLOAD_URL names a mirror; the checksums hold for it too. */
export function downloadUrl(release: Release): string {
  const server = process.env['LIGHT_PEFT_DOWNLOAD_URL'] || 'https://download.pytorch.org';
  return `${server.replace(/\/+$/, '')}/${release.path}/${encodeURIComponent(release.file)}`;
}
