import Vue from 'vue';
import Utils from '@openeo/vue-components/utils.js';
import App from './App.vue';
import './style/base.css';
import './style/components.css';

// The components would fetch icons from another site; the page asks this server only.
Utils.loadFontAwesome = () => {};

new Vue({ render: (h) => h(App) }).$mount('#app');
