// The types that a schema is made of.
import type { KnownBlock, View } from '@slack/types';

export interface SlackMessageBlocks {
  blocks: KnownBlock[];
}

export type SlackView = View;
