// The connection to this server, and who uses it. Tokens live in this tab, and end with it.
import { reactive } from 'vue';
import { BasicProvider, OidcProvider, OpenEO } from '@openeo/js-client';
import { WebStorageStateStore } from 'oidc-client';

const KEY = 'openeo-nc.session';
const REFUSED = ['TokenInvalid', 'AuthenticationRequired', 'AuthenticationSchemeInvalid'];

export const base = (window.location.origin + window.location.pathname).replace(/\/$/, '');

export const session = reactive({
  state: 'connecting', // connecting, ready, failed
  error: null,
  capabilities: null,
  providers: [], // { id, kind, title }
  user: null, // { id, name }
  notice: null, // why the user has to log in again
});

let connection = null;
let providers = [];

OidcProvider.redirectUrl = `${base}/`;

/** The connection of openEO's client. */
export function client() {
  return connection;
}

export async function open() {
  session.state = 'connecting';
  session.error = null;
  try {
    connection = await OpenEO.connectDirect(base);
    providers = await connection.listAuthProviders();
    session.capabilities = connection.capabilities().toJSON();
    session.providers = providers.map((one) => ({ id: one.getId(), kind: one.getType(), title: one.getTitle() }));
    await resume();
    session.state = 'ready';
  } catch (error) {
    session.error = error;
    session.state = 'failed';
  }
}

export function can(feature) {
  return connection.capabilities().hasFeature(feature);
}

export async function logInWithPassword(name, password) {
  const provider = new BasicProvider(connection);
  await provider.login(name, password);
  keep({ kind: 'basic', token: provider.token, provider: provider.getProviderId() });
  await welcome();
}

/** Leaves the page; the provider sends the browser back to it. */
export async function logInWith(id) {
  const provider = known(id);
  keep({ kind: 'oidc', id, back: window.location.hash });
  await provider.login(stores());
}

export async function logOut(notice = null) {
  const kept = recall();
  if (kept?.kind === 'oidc') await known(kept.id)?.manager?.removeUser();
  window.sessionStorage.removeItem(KEY);
  connection.setAuthProvider(null);
  session.user = null;
  session.notice = notice;
}

/** Does what needs a user; a token that the server takes no more ends the session. */
export async function asUser(action) {
  try {
    return await action(connection);
  } catch (error) {
    if (session.user && REFUSED.includes(error.code)) {
      await logOut('Your session has ended. Please log in again.');
    }
    throw error;
  }
}

async function resume() {
  const kept = recall();
  if (!kept) return;
  try {
    if (kept.kind === 'basic') {
      connection.setAuthToken('basic', '', kept.token);
    } else if (!(await resumeProvider(kept))) {
      window.sessionStorage.removeItem(KEY);
      return;
    }
    await welcome();
  } catch (error) {
    await logOut(REFUSED.includes(error.code) ? null : `You could not be logged in: ${error.message}`);
  }
}

async function resumeProvider(kept) {
  const provider = known(kept.id);
  if (!provider) return false;
  const asked = new URLSearchParams(window.location.search);
  if (asked.has('state') && (asked.has('code') || asked.has('error'))) {
    try {
      await OidcProvider.signinCallback(provider, stores());
    } finally {
      window.history.replaceState(null, '', window.location.pathname + (kept.back || ''));
      window.dispatchEvent(new HashChangeEvent('hashchange'));
    }
  }
  return provider.resume(stores());
}

async function welcome() {
  const account = await connection.describeAccount();
  session.user = { id: account.user_id, name: account.name || account.user_id };
  session.notice = null;
}

/** The provider of an id, with the client that the server offers for it. */
function known(id) {
  const provider = providers.find((one) => one.getType() === 'oidc' && one.getId() === id);
  if (provider && !provider.clientId && provider.defaultClients.length > 0) {
    provider.setGrant('authorization_code+pkce');
    provider.setClientId(provider.defaultClients[0].id);
  }
  return provider;
}

function stores() {
  const store = window.sessionStorage;
  return {
    userStore: new WebStorageStateStore({ store }),
    stateStore: new WebStorageStateStore({ store }),
    automaticSilentRenew: false,
    monitorSession: false,
    loadUserInfo: false,
  };
}

function keep(what) {
  window.sessionStorage.setItem(KEY, JSON.stringify(what));
}

function recall() {
  try {
    return JSON.parse(window.sessionStorage.getItem(KEY));
  } catch {
    return null;
  }
}
