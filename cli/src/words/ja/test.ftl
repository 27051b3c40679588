# `genkan test` の文言。英語の test.ftl と同じメッセージと引数を持つ。

test-running = { $file } のテスト { $count } 件を実行します（対象の設定: { $configuration }）
test-one = テスト { $name } ... { $outcome }
test-ok = 成功
test-failed = 失敗
test-failures = 失敗したテスト:
test-expected = 期待: { $text }
test-seen = 実際: { $text }
test-step = 手順 { $step }、{ $place }
test-traced = 同じ設定の模擬ルーターで同じ手順をたどった結果（そこでも期待どおりにならない）:
test-traced-otherwise = 同じ設定の模擬ルーターで同じ手順をたどった結果。そこではこの手順は期待どおりなので、実際に流れたフレームを調べる:
test-capture = 全フレームの記録: { $file }
test-summary = 結果: { $outcome }。成功 { $passed } 件、失敗 { $failed } 件、対象外 { $left_out } 件。所要時間 { $time } 秒

test-coverage = { $file } の規則のうち、テストが触れたもの: { $all } 件中 { $covered } 件
test-uncovered = 未使用: { $kind } { $name }  ({ $place })

test-expect-reaches-any = 届いて、返事も戻る
test-expect-reaches = { $target } に届いて、返事も戻る
test-expect-hairpin = いったん外へ出て折り返し（ヘアピン）、{ $target } に届く
test-expect-source = 宛先から見た送信元は { $source }
test-expect-reply = 返事の送信元は { $source }
test-expect-refused-any = 届かない
test-expect-refused = { $reason } により届かない
test-expect-closed = 届かない。理由は、転送設定が{ $state }こと
test-expect-answered = ルーター自身が答える
test-expect-open = 接続はまだ生きている
test-expect-ended = 接続は終わっている
test-expect-mapping = マッピングは { $behavior }（RFC 4787 4.1 節）
test-expect-filtering = フィルタリングは { $behavior }（RFC 4787 5 節）
test-expect-passes = { $all } 本の接続のうち { $count } 本が届く

test-seen-silence = 届かない
test-seen-dropped = 破棄された（{ $counter }）: { $reason }
test-seen-arrived = { $target } に届いた。そこから見た送信元は { $source }
test-seen-answered = ルーター自身が答えた
test-seen-no-hairpin = { $target } に届いたが、ヘアピンではない
test-seen-no-reply = { $target } に届いたが、返事が戻らない
test-seen-target = { $target } に届いた
test-seen-source = 宛先から見た送信元は { $source }
test-seen-reply = 返事の送信元は { $source }
test-seen-closed = 届かないが、転送設定が{ $state }ため
test-seen-mapping = マッピングは { $behavior }
test-seen-filtering = フィルタリングは { $behavior }
test-seen-passed = { $all } 本の接続のうち { $count } 本が届いた

test-state-open = 開いている
test-state-disabled = 無効になっている
test-state-expired = 期限切れになっている
test-state-out-of-hours = 時間外である
test-state-clock-unknown = 時間帯指定付きなのに時計が信用できない
test-state-absent = 転送先の機器がどこにも見つかっていない

test-offline-only = オフラインのみ: { $reason }
test-offline-count = { $count } 件は実際のルーターでは実行できません。--live を付けなければ実行できます。
test-offline-wan = ゲートウェイが wan のリンク上にない
test-offline-date = 日時に左右される
test-offline-time = 何分も何時間も待つことになる
test-offline-many = ここで用意できる数を超えるアドレスや接続が要る
test-offline-devices = 切り替え先の設定では、デバイスやネットワークが異なる
test-offline-direct = 送り手と受け手が同じ側にあり、パケットがルーターを通らない
test-offline-ports = ポートのないプロトコルでは、接続の続きをプログラムから送れない
