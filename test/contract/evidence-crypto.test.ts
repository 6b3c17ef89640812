import * as node from '../../src/evidence/crypto.ts'
import * as browser from '../../src/evidence/crypto-browser.ts'
import { evidenceCryptoContract } from './evidence-crypto.ts'

evidenceCryptoContract('cryptography in Node', node)
evidenceCryptoContract('cryptography in browsers', browser)
