# `genkan doctor --reflector` の言葉。ほかの言語と同じメッセージと引数を持つ。

outside-from = 外側から見た様子（リフレクター { $reflector }）:
outside-translated = { $internal } は { $external } として見える
outside-not-translated = { $internal } はそのまま見える（途中に NAT はない）
outside-no-udp = { $seen } として見えるが、UDP のデータグラムが通らないため NAT の挙動は調べられない
outside-mapping = マッピング: { $kinds }
outside-filtering = フィルタリング: { $kinds }
outside-or = {" "}または{" "}
outside-mapping-endpoint-independent = どの相手にも同じ外側ポート
outside-mapping-address-dependent = 相手のアドレスごとに別の外側ポート
outside-mapping-address-and-port-dependent = 相手のアドレスとポートごとに別の外側ポート
outside-filtering-endpoint-independent = 誰からでも届く
outside-filtering-address-dependent = 通信したことのあるアドレスからだけ届く
outside-filtering-address-and-port-dependent = 通信したことのあるアドレスとポートからだけ届く
outside-ports-kept = 外側のポートは内側と同じ
outside-ports-step = 外側のポートは内側と異なるが、{ $step } ずつ進むので予測できる
outside-ports-other = 外側のポートは内側と異なる
outside-hairpin-yes = ヘアピン: 内側のホスト同士が外側アドレスで通信できる
outside-hairpin-no = ヘアピン: 内側のホスト同士が外側アドレスで通信できない
outside-path = { $mtu } オクテットのパケットが分割されずに外へ出る
outside-consoles = ここに置いたゲーム機（UPnP も転送もない場合）: PlayStation タイプ{ $playstation }、Nintendo Switch { $switch }、Xbox { $xbox }
outside-open = 開いている
outside-closed = 閉じている（接続は拒否された）
outside-filtered-tcp = 遮断されている（応答がない）
outside-filtered-udp = 応答がない（遮断されているか、知らない相手に応答しないプログラムに届いている）
outside-unsaid = リフレクターからの回答がない
outside-not-tried = 調べていない転送ルール（別の外側アドレスのもの、または数が多すぎるもの）: { $forwards }

outside-remedy-nat-in-front = ルーターの外側アドレスは { $external } だが、外からは { $seen } に見える。もう一つの NAT（プロバイダーや別のルーター）が変換している。そこでも { $external } へ転送するか、それをブリッジモードにするか、プロバイダーからグローバルアドレスを受けるまで、転送は届かない。
outside-remedy-share = { $seen } はほかの利用者と共有されているようである（RFC 7597 の MAP-E など）。手前の NAT が使えるのは { $blocks } などの一部のポートだけで、それ以外のポート（調べたもののうち { $outside }）はここに届かない。使えるポートの一つを手前の NAT からこのルーターの転送のポートへ転送し、そのポートを相手に知らせる。
outside-remedy-path = 外への経路は { $mtu } オクテットまでのパケットしか通さないが、ルーターの wan の設定は { $wan } である。大きなパケットは一度むだに送られてから小さく送り直される。Genkan では: [wan] mtu = { $mtu }（TCP の MSS も下げられる）
outside-remedy-path-silent = およそ { $mtu } オクテットを超えるパケットは、外への途中で通知なしに消える。接続はできてもその後で止まる。Genkan では: [wan] mtu = { $mtu }（TCP の MSS も下げられる）
outside-remedy-udp = 外向きの UDP が遮断されている。ゲーム、通話、VPN に必要なので、外向き UDP のファイアウォール設定を確かめる。
outside-remedy-somebody-else = 転送ルール「{ $forward }」は閉じているか { $source } を許さないのに、{ $seen } の { $protocol } { $port } が応答する。別のルールか DMZ、または別の機器が受けている。
outside-remedy-closed = { $protocol } { $port } は拒否された。機器までは届いているが、待ち受けるプログラムがない。
outside-remedy-not-forwarded = { $protocol } { $port } は応答しない。受ける転送ルールがないか、転送先のファイアウォールが捨てている。調べるには: genkan trace --in wan --protocol { $protocol } --from { $source }:40000 --to { $seen }:{ $port } --config FILE
outside-remedy-inside = { $protocol } { $port } は応答しない。転送ルール「{ $forward }」について内側から分かったことと一致する。
outside-remedy-before = { $protocol } { $port } は応答しないが、転送ルール「{ $forward }」に内側から見た問題はない。ルーターの手前（プロバイダーや別のルーター）の遮断か、自分のネットワークだけを許す転送先のファイアウォールを疑う。
outside-remedy-open-after-all = 転送ルール「{ $forward }」の { $protocol } { $port } は外から見て開いている。内側から見つかった問題は、このパケットを妨げていない。
outside-remedy-mapping = 相手ごとに外側のポートが変わるため、ほかの参加者から教わった宛先では届かない。マッピングが相手によらないルーターにする。Genkan では: [nat] mapping = "endpoint-independent"
outside-remedy-filtering = まだ通信していない相手からは届かない。ゲーム機には届くようにする。Genkan では: その機器の [[host]] に filtering = "endpoint-independent"、または必要なポートの転送ルール
outside-remedy-hairpin = この NAT の内側の参加者同士は外側アドレスで出会えない。Genkan では: [nat] hairpin = true
outside-remedy-one-address = リフレクターのアドレスが一つなので、区別できない種類がある: genkan reflector --second-address
