// The first script of a user, in three languages and as a process graph, on a collection of this server.

const DEGREES = 0.02;
const BANDS = 4;

/** A small part of a collection, or null if its metadata do not say enough. */
export function example(collection) {
  const box = collection?.extent?.spatial?.bbox?.[0];
  if (!box) return null;
  const [west, south, east, north] = box.length === 6 ? [box[0], box[1], box[3], box[4]] : box;
  const interval = collection.extent?.temporal?.interval?.[0] ?? [null, null];
  return {
    id: collection.id,
    extent: { ...middle('west', 'east', west, east), ...middle('south', 'north', south, north) },
    dates: month(interval),
    bands: bands(collection).slice(0, BANDS),
  };
}

export function graph(example) {
  const load = {
    id: example.id,
    spatial_extent: example.extent,
    temporal_extent: example.dates,
    ...(example.bands.length > 0 ? { bands: example.bands } : {}),
  };
  const from = (node) => ({ from_node: node });
  return {
    load: { process_id: 'load_collection', arguments: load },
    compress: { process_id: 'compress_cube', arguments: { data: from('load'), quality: 5 } },
    store: { process_id: 'save_result', arguments: { data: from('compress'), format: 'ZARR' } },
    judge: {
      process_id: 'compression_quality',
      arguments: { data: from('compress'), reference: from('load') },
    },
    report: {
      process_id: 'save_result',
      arguments: { data: from('judge'), format: 'HTML' },
      result: true,
    },
  };
}

export function python(url, login, example) {
  const { extent, dates, bands } = example;
  return `import openeo

connection = openeo.connect("${url}")
connection.${login === 'oidc' ? 'authenticate_oidc()' : 'authenticate_basic("USER", "PASSWORD")'}

cube = connection.load_collection(
    "${example.id}",
    spatial_extent=${json(extent)},
    temporal_extent=${json(dates)},${bands.length ? `\n    bands=${json(bands)},` : ''}
)
compressed = cube.process("compress_cube", data=cube, quality=5)
quality = compressed.process("compression_quality", data=compressed, reference=cube)
report = quality.process("save_result", data=quality, format="HTML")

job = connection.create_job([compressed.save_result("ZARR"), report], title="Compressed")
job.start_and_wait()
job.get_results().download_files("compressed")
`;
}

export function javascript(url, login, example) {
  const log = login === 'oidc'
    ? `const [provider] = await connection.listAuthProviders();
await provider.login();`
    : 'await connection.authenticateBasic("USER", "PASSWORD");';
  return `import { OpenEO } from "@openeo/js-client";

const connection = await OpenEO.connect("${url}");
${log}

const builder = await connection.buildProcess();
const cube = builder.process("load_collection", {
  id: "${example.id}",
  spatial_extent: ${json(example.extent)},
  temporal_extent: ${json(example.dates)},${example.bands.length ? `\n  bands: ${json(example.bands)},` : ''}
});
const compressed = builder.process("compress_cube", { data: cube, quality: 5 });
const result = builder.process("save_result", { data: compressed, format: "ZARR" });

const job = await connection.createJob(result, "Compressed");
await job.startJob();
`;
}

export function r(url, login, example) {
  const { west, south, east, north } = example.extent;
  const list = (values) => `list(${values.map((value) => (value === null ? 'NULL' : `"${value}"`)).join(', ')})`;
  return `library(openeo)

connection <- connect(host = "${url}")
${login === 'oidc' ? 'login()' : 'login(user = "USER", password = "PASSWORD")'}

p <- processes()
cube <- p$load_collection(
  id = "${example.id}",
  spatial_extent = list(west = ${west}, south = ${south}, east = ${east}, north = ${north}),
  temporal_extent = ${list(example.dates)}${example.bands.length ? `,\n  bands = ${list(example.bands)}` : ''}
)
compressed <- p$compress_cube(data = cube, quality = 5)
result <- p$save_result(data = compressed, format = "ZARR")

job <- create_job(graph = result, title = "Compressed")
start_job(job = job)
`;
}

/** Pieces of code with what they are: `comment`, `text`, `word` or null. */
export function pieces(code) {
  const kinds = /(#.*$|\/\/.*$)|("(?:[^"\\]|\\.)*")|\b(import|from|const|await|library|list|null|NULL|None)\b/gm;
  const found = [];
  let end = 0;
  for (const match of code.matchAll(kinds)) {
    if (match.index > end) found.push({ kind: null, text: code.slice(end, match.index) });
    found.push({ kind: match[1] ? 'comment' : match[2] ? 'text' : 'word', text: match[0] });
    end = match.index + match[0].length;
  }
  found.push({ kind: null, text: code.slice(end) });
  return found;
}

function middle(low, high, from, to) {
  const centre = (from + to) / 2;
  const half = Math.min((to - from) / 2, DEGREES / 2);
  const round = (value) => Number(value.toFixed(4));
  return { [low]: round(centre - half), [high]: round(centre + half) };
}

/** The last 30 days that there are, or all if the interval is shorter; its end is left out. */
function month([start, end]) {
  const last = end === null ? new Date() : new Date(end);
  const first = new Date(last.getTime() - 30 * 86_400_000);
  const day = (date) => date.toISOString().slice(0, 10);
  const begun = start === null || new Date(start) < first ? day(first) : String(start).slice(0, 10);
  return [begun, day(new Date(last.getTime() + 86_400_000))];
}

function bands(collection) {
  const dimensions = Object.values(collection['cube:dimensions'] ?? {});
  return dimensions.find((dimension) => dimension.type === 'bands')?.values ?? [];
}

function json(value) {
  if (Array.isArray(value)) return `[${value.map(json).join(', ')}]`;
  if (value !== null && typeof value === 'object') {
    return `{${Object.entries(value).map(([key, member]) => `"${key}": ${json(member)}`).join(', ')}}`;
  }
  return JSON.stringify(value);
}
