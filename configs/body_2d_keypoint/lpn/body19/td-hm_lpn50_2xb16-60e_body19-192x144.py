_base_ = './td-hm_lpn50_2xb16-60e_body19-128x128.py'

# codec settings
codec = dict(type='BetaSoftArgmaxHeatmap', input_size=(144, 192), heatmap_size=(36, 48), sigma=1.5)

# model settings
model = dict(head=dict(decoder=codec))

# pipelines
train_pipeline = _base_.train_pipeline
train_pipeline[5].input_size = codec['input_size']
train_pipeline[7].encoder = codec
val_pipeline = _base_.val_pipeline
val_pipeline[1].padding = 1.1
val_pipeline[2].input_size = codec['input_size']

# data loaders
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
