import { expect } from 'chai';
import { parsePtxas, table } from '../../scripts/check-cuda/ptxas.ts';

// As nvcc 13.0 prints it, for two processors; the kernel calls a function that stays one.
const output = `ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z3rowPf' for 'sm_80'
ptxas info    : Function properties for _Z3rowPf
    256 bytes stack frame, 12 bytes spill stores, 24 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 256 bytes cumulative stack size, 512 bytes smem, 368 bytes cmem[0]
ptxas info    : Compile time = 5.046 ms
ptxas info    : Function properties for _Z4deepPfi
    8 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z3rowPf' for 'sm_90'
ptxas info    : Function properties for _Z3rowPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 42 registers
ptxas info    : (C7510) Potential Performance Loss: wgmma instructions are serialized
a.cu(3): warning #177-D: variable "n" was declared but never referenced
`;

describe('what the CUDA assembler says', () => {
  const { compiled, words } = parsePtxas(output);

  it('is read for each kernel, processor and function that is called', () => {
    expect(compiled).to.deep.equal([
      {
        ...{ name: '_Z3rowPf', arch: 'sm_80', registers: 32, shared: 512 },
        ...{ stack: 256, spillStores: 12, spillLoads: 24 },
      },
      { name: '_Z4deepPfi', arch: 'sm_80', stack: 8, spillStores: 0, spillLoads: 0 },
      {
        ...{ name: '_Z3rowPf', arch: 'sm_90', registers: 42, shared: 0 },
        ...{ stack: 0, spillStores: 0, spillLoads: 0 },
      },
    ]);
  });

  it('leaves warnings to be shown', () => {
    expect(words).to.have.length(2);
    expect(words[0]).to.contain('C7510');
    expect(words[1]).to.contain('warning #177-D');
  });

  it('becomes a table under names as in the source', () => {
    const names = new Map([['_Z3rowPf', 'lp::row']]);
    expect(table(compiled, (name) => names.get(name) ?? name).split('\n')).to.deep.equal([
      'kernel        for  registers  shared  stack  spill stores  spill loads',
      '_Z4deepPfi  sm_80          -       -      8             0            0',
      'lp::row     sm_80         32     512    256            12           24',
      'lp::row     sm_90         42       0      0             0            0',
    ]);
  });
});
