// What the openEO Web Editor and other JavaScript clients do, with @openeo/js-client in node.
// Prints one JSON object a step: {step, value} or {step, error}. Told by the environment:
// URL, PACKAGES (folder with node_modules), COLLECTION, CLIENT (of OpenID Connect).

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const require = createRequire(join(process.env.PACKAGES, "package.json"));
const { OpenEO, OidcProvider } = require("@openeo/js-client");
const { URL: url, COLLECTION: collection } = process.env;

const add = (x) => ({ process_graph: { add: { process_id: "add", arguments: { x, y: 2 }, result: true } } });
const steps = [];
const step = (name, run) => steps.push([name, run]);
let connection, service, udp, job;

step("connect", async () => {
    connection = await OpenEO.connect(url);
    const capabilities = connection.capabilities();
    return {
        version: capabilities.apiVersion(),
        features: capabilities.listFeatures(),
        missing: ["listCollections", "validateProcess", "computeResult", "createJob", "debugJob", "stopJob",
            "setUserProcess", "uploadFile", "describeAccount"].filter((f) => !capabilities.hasFeature(f)),
        services: capabilities.hasFeature("createService"),
    };
});
step("collections", async () => {
    const { collections } = await connection.listCollections();
    const described = await connection.describeCollection(collection);
    const items = connection.listCollectionItems(collection, null, null, 2);
    const page = await items.nextPage();
    return { ids: collections.map((c) => c.id), dimensions: Object.keys(described["cube:dimensions"]),
        items: page.length };
});
step("processes", async () => {
    const pages = connection.paginateProcesses(); // of 50, unless the client is told otherwise
    const ids = [];
    while (pages.hasNextPage()) ids.push(...(await pages.nextPage()).map((p) => p.id));
    return ids;
});
step("formats", async () => {
    const types = await connection.listFileTypes();
    return Object.keys(types.getOutputTypes());
});
step("runtimes", async () => Object.keys(await connection.listUdfRuntimes()));
step("basic", async () => {
    const provider = (await connection.listAuthProviders()).find((p) => p.getType() === "basic");
    await provider.login("ada", "lovelace");
    return { name: (await connection.describeAccount()).name, token: provider.getToken().includes("/") };
});
step("validate", async () => {
    const good = await connection.validateProcess(add(1));
    const bad = await connection.validateProcess(add("one"));
    return { good: good.length, bad: bad.map((e) => e.code) };
});
step("result", async () => {
    const { data, type, costs } = await connection.computeResult(add(40));
    const chunks = [];
    for await (const chunk of data) chunks.push(chunk);
    return { value: JSON.parse(Buffer.concat(chunks).toString()), type, costs };
});
step("picture", async () => {
    const graph = { process_graph: {
        load: { process_id: "load_collection", arguments: { id: collection, bands: ["B04"],
            spatial_extent: { west: 0.07, south: 4.47, east: 0.075, north: 4.475 },
            temporal_extent: ["2024-05-01", "2024-06-01"] } },
        save: { process_id: "save_result", arguments: { data: { from_node: "load" }, format: "PNG" }, result: true },
    } };
    const place = join(process.env.OUT, "picture.png");
    await connection.downloadResult(graph, place);
    return readFileSync(place).subarray(0, 8).toString("latin1");
});
step("error", async () => {
    try {
        await connection.computeResult({ process_graph: { x: { process_id: "nowhere", arguments: {}, result: true } } });
    } catch (error) {
        return { code: error.code, id: typeof error.id, message: error.message };
    }
});
step("process", async () => {
    udp = await connection.setUserProcess("double", { process_graph: { twice: { process_id: "multiply",
        arguments: { x: { from_parameter: "x" }, y: 2 }, result: true } },
        parameters: [{ name: "x", description: "A number.", schema: { type: "number" } }] });
    const listed = await connection.listUserProcesses();
    const described = await (await connection.getUserProcess("double")).describeUserProcess();
    await udp.deleteUserProcess();
    return { listed: listed.map((p) => p.id), graph: Object.keys(described.processGraph) };
});
step("job", async () => {
    const graph = { process_graph: {
        load: { process_id: "load_collection", arguments: { id: collection, bands: ["B04"],
            spatial_extent: { west: 0.07, south: 4.47, east: 0.075, north: 4.475 },
            temporal_extent: ["2024-05-01", "2024-06-01"] } },
        save: { process_id: "save_result", arguments: { data: { from_node: "load" }, format: "GTIFF" }, result: true },
    } };
    job = await connection.createJob(graph, "A job", "Of the JavaScript client.");
    const created = job.status;
    await job.startJob();
    for (const until = Date.now() + 240e3; !["finished", "error"].includes(job.status) && Date.now() < until;) {
        await new Promise((resolve) => setTimeout(resolve, 500));
        await job.describeJob();
    }
    const listed = await connection.listJobs();
    return { created, status: job.status, title: job.title, listed: listed.map((j) => j.id).includes(job.id) };
});
step("logs", async () => {
    const logs = await job.debugJob().nextLogs();
    return logs.map((entry) => entry.level);
});
step("results", async () => {
    const stac = await job.getResultsAsStac();
    const files = await job.downloadResults(process.env.OUT);
    return { type: stac.type, assets: Object.keys(stac.assets), files: files.length };
});
step("estimate", async () => {
    if (!connection.capabilities().hasFeature("estimateJob")) return null;
    return Object.keys(await job.estimateJob());
});
step("cancel", async () => {
    const other = await connection.createJob(add(1), "Canceled");
    await other.startJob();
    await other.stopJob();
    await other.describeJob();
    const status = other.status;
    await other.deleteJob();
    await job.deleteJob();
    return status;
});
step("files", async () => {
    const place = join(process.env.OUT, "note.txt");
    writeFileSync(place, "a note");
    const file = await connection.uploadFile(place, "notes/note.txt");
    const listed = await connection.listFiles();
    const back = join(process.env.OUT, "back.txt");
    await file.downloadFile(back);
    await file.deleteFile();
    return { listed: listed.map((f) => f.path), text: readFileSync(back, "utf8") };
});
step("oidc", async () => {
    const fresh = await OpenEO.connect(url);
    const provider = (await fresh.listAuthProviders()).find((p) => p.getType() === "oidc");
    const token = await fetch(process.env.TOKENS, { method: "POST", body: "grant_type=client_credentials" });
    fresh.setAuthToken("oidc", provider.getProviderId(), (await token.json()).access_token);
    const client = provider.defaultClients?.[0];
    return { name: (await fresh.describeAccount()).name, grants: client.grant_types, redirects: client.redirect_urls };
});

for (const [name, run] of steps) {
    let line;
    try {
        line = { step: name, value: await run() };
    } catch (error) {
        line = { step: name, error: `${error.stack ?? error}` };
    }
    console.log(JSON.stringify(line));
}
