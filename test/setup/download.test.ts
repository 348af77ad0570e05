import { readFileSync } from 'node:fs';
import { type Server, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { download } from '../../scripts/setup/download.ts';
import { rejection } from './rejection.ts';
import { Scratch } from './scratch.ts';

describe('a download', () => {
  let scratch: Scratch;
  let server: Server;
  let url: string;
  const quiet = (): void => undefined;

  before((done) => {
    server = createServer((request, response) => {
      if (request.url === '/whole') return void response.end('bytes');
      if (request.url === '/cut') {
        response.writeHead(200, { 'content-length': 100 });
        return void response.write('bytes', () => response.destroy());
      }
      response.writeHead(404).end();
    });
    server.listen(0, '127.0.0.1', () => {
      url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      done();
    });
  });
  after((done) => {
    server.closeAllConnections();
    server.close(done);
  });
  beforeEach(() => (scratch = new Scratch()));
  afterEach(() => scratch.dispose());

  it('arrives', async () => {
    await download(`${url}/whole`, scratch.path('file'), quiet);
    expect(readFileSync(scratch.path('file'), 'utf8')).to.equal('bytes');
  });

  it('that the server refuses or breaks off is a failure that names the address', async () => {
    const refused = await rejection(() => download(`${url}/none`, scratch.path('file'), quiet));
    expect(refused).to.include({ code: 'SETUP_FAILED', message: `${url}/none: the server answered 404` });
    const cut = await rejection(() => download(`${url}/cut`, scratch.path('file'), quiet));
    expect(cut.code).to.equal('SETUP_FAILED');
    expect(cut.message).to.contain(`${url}/cut: `);
  });
});
