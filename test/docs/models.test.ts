import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { modelsPage } from '../../scripts/models.ts';

it('docs/models.md is what the code knows', async () => {
  const written = readFileSync(join(import.meta.dirname, '../../docs/models.md'), 'utf8');
  expect(written).to.equal(await modelsPage());
});
