// What netron's own parser makes of Caffe files, as JSON: node netron_reads.mjs NETRON_FOLDER FILE…
import crypto from 'crypto';
import fs from 'fs';
import path from 'path';
import { pathToFileURL } from 'url';

const [root, ...files] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(path.join(root, name)).href);
const [view, base] = await Promise.all(['view.js', 'base.js'].map(load));
const fail = (error) => { throw error; };
const asset = async (name) => fs.readFileSync(path.join(root, name), 'utf-8');
const host = { environment: () => null, event: () => {}, exception: fail, message: () => {}, require: (id) => load(`${id}.js`), asset, request: asset };

const tensor = (argument) => {
    const { initializer, type } = argument.value[0] ?? {};
    if (!initializer) {
        return [];
    }
    const values = Float32Array.from(initializer.values);
    const digest = crypto.createHash('sha256').update(Buffer.from(values.buffer)).digest('hex');
    return [[type.shape.dimensions.map(Number), digest]];
};

const found = {};
for (const file of files) {
    const stream = new base.BinaryStream(fs.readFileSync(file));
    const context = { ...host, identifier: path.basename(file), name: file, stream, entries: new Map(), tags: new Map(), error: fail };
    const model = await new view.ModelFactoryService(host).open(context);
    const nodes = model.modules[0].nodes;
    found[file] = nodes.map((node) => ({ name: node.name, type: node.type.name, blobs: node.inputs.flatMap(tensor) }));
}
console.log(JSON.stringify(found));
